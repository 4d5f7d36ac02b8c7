//! How many bytes may pass per second: a token bucket without a clock of its own.
//!
//! The bucket fills with 90 % of the rate and holds half a second of it, so that any ten seconds
//! stay within the rate, including a lump of the log at their end. A piece that is larger than the
//! bucket (a part of 8 MiB at a low rate) passes when the bucket is full, and leaves a debt. Over
//! ten seconds the rate is then kept except for that one piece. The log passes without waiting, and
//! leaves a debt too, of at most ten seconds.

/// The share of the rate that the bucket fills with.
const FILLS: f64 = 0.9;
/// Seconds of the rate that the bucket holds.
const HOLDS_S: f64 = 0.5;
/// The deepest debt that the log leaves, in seconds of the rate.
const DEBT_S: f64 = 10.0;

/// Tokens, one per byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    bytes_per_s: f64,
    tokens: f64,
    at_s: f64,
    /// Bytes that passed since the start.
    passed: f64,
}

impl Bucket {
    /// A full bucket for this rate.
    pub fn new(bytes_per_s: u64, at_s: f64) -> Bucket {
        let bytes_per_s = bytes_per_s.max(1) as f64;
        Bucket { bytes_per_s, tokens: bytes_per_s * HOLDS_S, at_s, passed: 0.0 }
    }

    /// The rate.
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes_per_s
    }

    fn fill(&mut self, at_s: f64) {
        let passed_s = (at_s - self.at_s).max(0.0);
        self.at_s = self.at_s.max(at_s);
        self.tokens = (self.tokens + passed_s * self.bytes_per_s * FILLS).min(self.bytes_per_s * HOLDS_S);
    }

    /// Whether this many bytes may pass now; if not, in how many seconds they may.
    pub fn ready(&mut self, at_s: f64, bytes: u64) -> Result<(), f64> {
        self.fill(at_s);
        let needed = (bytes as f64).min(self.bytes_per_s * HOLDS_S);
        if self.tokens >= needed - 1e-6 { Ok(()) } else { Err((needed - self.tokens) / (self.bytes_per_s * FILLS)) }
    }

    /// Lets these bytes pass, whether or not there is room.
    pub fn take(&mut self, at_s: f64, bytes: u64, is_log: bool) {
        self.fill(at_s);
        let left = self.tokens - bytes as f64;
        self.tokens = if is_log { left.max(self.tokens.min(-DEBT_S * self.bytes_per_s)) } else { left };
        self.passed += bytes as f64;
    }

    /// Bytes that passed since the start.
    pub fn passed(&self) -> f64 {
        self.passed
    }
}
