//! Backup events in a TigerBeetle ledger: a trail that nobody can alter of what was backed up, when, and how it went.
