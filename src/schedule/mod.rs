//! When jobs run: pure decisions over clocks that are handed in, so that a week passes in a test in moments.
