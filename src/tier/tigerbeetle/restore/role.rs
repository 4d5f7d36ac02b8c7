//! The role for which a data file is written.

/// Whose data file an image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The replica that it was captured from.
    Same,
    /// Replica `index` of the cluster.
    Replica {
        /// Its index.
        index: u8,
    },
    /// A cluster of one, with the same cluster id: a sandbox, never to be mixed with replicas of
    /// the original.
    Solo,
}
