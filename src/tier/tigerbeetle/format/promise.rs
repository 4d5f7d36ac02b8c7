//! What the repository promises: to which cluster it belongs, and which manifests must exist.
//!
//! The first backup binds the repository to its cluster ([`Repository::bind_cluster`]). From then
//! on a data file of another cluster is refused, because two ledgers in one history would make that
//! history wrong. [`Repository::promise`] writes a manifest and then its receipt. A receipt without
//! its manifest means that a backup was lost. A manifest without its receipt means that a run was
//! killed between the two. The next run then writes the receipt.
//!
//! Layout: FORMAT.md, "Receipts" and "The cluster".

use super::manifest::Manifest;
use super::timeline::Lineage;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{self, CheckpointName};
use crate::repository::object_reader::ObjectReader;
use crate::repository::object_writer::ObjectWriter;
use crate::repository::promise::Receipt;
use crate::repository::stored_object::StoredObject;
use crate::repository::wire::Fields;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Repository {
    /// The cluster that this repository belongs to, if a backup has been made.
    pub fn cluster(&self) -> Result<Option<u128>> {
        if self.object_bytes(name::CLUSTER)?.is_none() {
            return Ok(None);
        }
        let wrong = || Error::damaged(format!("{}: it does not name a cluster", name::CLUSTER));
        let object = ObjectReader::open(self, ObjectKind::Cluster, name::CLUSTER, None)?;
        let frame = object.frames(0, 1)?.pop().unwrap_or_default();
        let mut fields = Fields::new(&frame);
        let cluster = fields.u128().ok_or_else(wrong)?;
        fields.end().ok_or_else(wrong)?;
        Ok(Some(cluster))
    }

    /// Checks that the repository belongs to this cluster, or to none yet.
    ///
    /// # Errors
    /// [`Error::input`] when it belongs to another cluster.
    pub fn check_cluster(&self, cluster: u128) -> Result<()> {
        match self.cluster()? {
            Some(bound) if bound != cluster => Err(Error::input(format!(
                "{} belongs to cluster {bound}, the data file to cluster {cluster}: use the right file, or a repository of its own for each cluster",
                self.describe()
            ))),
            _ => Ok(()),
        }
    }

    /// Binds a new repository to a cluster, or checks that it belongs to this cluster.
    ///
    /// # Errors
    /// [`Error::input`] when it belongs to another cluster.
    pub fn bind_cluster(self: &Arc<Self>, cluster: u128) -> Result<()> {
        let bound = match self.cluster()? {
            Some(bound) => bound,
            None => match self.write_cluster(cluster) {
                Ok(()) => cluster,
                // Another first backup may have been faster. Then its cluster counts.
                Err(error) if error.kind == Kind::Damaged => self.cluster()?.ok_or(error)?,
                Err(error) => return Err(error),
            },
        };
        if bound == cluster { Ok(()) } else { self.check_cluster(cluster) }
    }

    fn write_cluster(self: &Arc<Self>, cluster: u128) -> Result<()> {
        let mut writer = ObjectWriter::create(self, ObjectKind::Cluster, name::CLUSTER.to_owned())?;
        writer.push(cluster.to_le_bytes())?;
        writer.finish(Vec::new())?.wait().map(|_| ())
    }

    /// Makes a backup exist: writes its manifest, then the receipt. Both are durable when this
    /// returns.
    pub fn promise(self: &Arc<Self>, name: &CheckpointName, manifest: &Manifest) -> Result<StoredObject> {
        let stored = manifest.write(self, name)?;
        self.write_receipt(name, &Receipt { size_bytes: stored.size_bytes, digest: stored.digest })?;
        Ok(stored)
    }

    /// The names of all manifests that have a receipt.
    pub fn receipts(&self) -> Result<Vec<CheckpointName>> {
        let listed = self.list_all(name::RECEIPTS)?;
        Ok(listed.iter().filter_map(|object| CheckpointName::parse_receipt(&object.name)).collect())
    }

    /// All backups that exist or were promised, in the order of restore. Promised ones are included
    /// because a lost manifest must not make an older backup the newest.
    pub fn backups(&self) -> Result<BTreeSet<CheckpointName>> {
        Ok(self.checkpoints()?.into_iter().chain(self.receipts()?).collect())
    }

    /// The backups of one history, in the order of their checkpoints.
    pub fn backups_of(&self, lineage: &Lineage) -> Result<Vec<CheckpointName>> {
        let mut backups: Vec<CheckpointName> =
            self.backups()?.into_iter().filter(|name| lineage.has_backup(name.timeline, name.checkpoint_op)).collect();
        backups.sort_unstable_by_key(|name| (name.checkpoint_op, *name));
        Ok(backups)
    }
}

#[cfg(test)]
mod tests;
