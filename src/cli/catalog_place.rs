//! The arguments that name a catalog: a folder, the catalog of an agent, or a repository whose
//! catalog is in the user's own cache.

use super::repository::RepositoryArguments;
use super::{Manner, user_folders};
use crate::catalog::folder::STATE_FOLDER;
use crate::catalog::reader::Reader;
use crate::catalog::rebuild::refresh;
use crate::catalog::writer::Catalog;
use crate::config::AgentConfig;
use crate::error::{Error, Result};
use crate::monitor::progress::for_people;
use crate::repository::{Options, Repository};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Which catalog.
#[derive(Debug, Args)]
// Here the repository is only one of three ways to name a catalog, so `--repo` is optional. Other
// commands require it.
#[command(mut_arg("repo", |argument| argument.required(false).default_value("").hide_default_value(true)))]
pub struct CatalogArguments {
    /// The folder that the catalog is in. Goes before --config, --repo and AMBER_REPO.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// The agent's configuration: its own catalog, also while it runs. Goes before --repo and
    /// AMBER_REPO.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    repository: RepositoryArguments,
}

const NO_CATALOG: &str = "name a catalog: --catalog DIR, --config FILE of an agent, or --repo URL (AMBER_REPO) of a repository, of which a copy is kept up to date in \
                          $XDG_CACHE_HOME/amber or ~/.cache/amber";

const NO_PLACE: &str = "name a repository, --repo URL (AMBER_REPO), or ask a catalog instead: --config FILE of an agent, or --catalog DIR";

impl CatalogArguments {
    /// Opens the catalog to read. The catalog of a repository is brought up to date first.
    pub fn reader(&self, manner: Manner) -> Result<Reader> {
        if let Some(reader) = self.named()? {
            return Ok(reader);
        }
        let catalog = self.cached(&self.open(NO_CATALOG)?)?;
        let progress = for_people(manner.quiet);
        let refreshed = refresh(&catalog, &*progress)?;
        refreshed.applied.begun_anew.iter().for_each(|reason| progress.note(&format!("the cached catalog was made anew: {reason}")));
        refreshed.notes.iter().for_each(|note| progress.note(note));
        Reader::open(catalog.folder().path())
    }

    /// Opens the catalog to read, if one is named by its folder or its agent.
    pub fn named(&self) -> Result<Option<Reader>> {
        self.folder()?.map(|folder| Reader::open(&folder)).transpose()
    }

    /// Opens the repository itself, for commands that were given no catalog.
    pub fn repository(&self) -> Result<Arc<Repository>> {
        self.open(NO_PLACE)
    }

    /// The catalog, to be rebuilt from its repository.
    pub fn catalog(&self) -> Result<Catalog> {
        let repository = match &self.config {
            Some(config) => AgentConfig::load(config)?.open_repository()?,
            None => self.open(NO_CATALOG)?,
        };
        match self.folder()? {
            Some(folder) => Ok(Catalog::new(&repository, &folder)),
            None => self.cached(&repository),
        }
    }

    /// The folder, if one is named.
    fn folder(&self) -> Result<Option<PathBuf>> {
        let of_agent = |config: &PathBuf| Ok(AgentConfig::load(config)?.state_directory.join(STATE_FOLDER));
        match (&self.catalog, &self.config) {
            (Some(folder), _) => Ok(Some(folder.clone())),
            (None, Some(config)) => of_agent(config).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn open(&self, none: &str) -> Result<Arc<Repository>> {
        if self.repository.url().is_empty() {
            return Err(Error::input(none));
        }
        self.repository.open(Options::default())
    }

    fn cached(&self, repository: &Arc<Repository>) -> Result<Catalog> {
        let none = || Error::input("neither XDG_CACHE_HOME nor HOME says where a cache may be: name a folder with --catalog DIR");
        let cache = user_folders::cache().ok_or_else(none)?;
        Ok(Catalog::new(repository, &folder_of(&cache, repository)))
    }
}

/// The catalog's folder in the cache: each repository has its own.
fn folder_of(cache: &Path, repository: &Repository) -> PathBuf {
    cache.join(Uuid::from_bytes(repository.header().repository_id).to_string())
}
