//! The oldest TLS version that is accepted.

/// The lowest TLS version accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMinimum {
    /// TLS 1.2 or 1.3.
    Tls12,
    /// TLS 1.3 only.
    #[default]
    Tls13,
}
