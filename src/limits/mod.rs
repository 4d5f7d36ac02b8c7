//! How much the process may use: CPU time, upload and read bandwidth, and a [`forecast`] of whether
//! that is enough for what is promised.

pub mod bucket;
pub mod budget;
pub mod forecast;
pub mod governor;
pub mod limit;
pub mod pacer;
