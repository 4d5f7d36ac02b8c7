//! How much may be used: bandwidth, worker time, memory, and what that means for a plan.

pub mod bucket;
pub mod budget;
pub mod forecast;
pub mod governor;
pub mod pacer;
