//! The page of this agent: what `[page]` names is read here and passed to [`crate::monitor::web`].

use crate::config::page::PagePlan;
use crate::config::secret;
use crate::error::{Error, Result};
use crate::monitor::alert::Topic;
use crate::monitor::live::Live;
use crate::monitor::status_board::StatusBoard;
use crate::monitor::web::access::{Access, TOKEN_BYTES_MAX, Token};
use crate::monitor::web::{Options, Server, tls};
use std::path::Path;
use std::sync::Arc;

/// The options with which the page is served; `None` where it is off.
///
/// # Errors
/// [`Error::input`] with the line that names a file which is missing or is not what it must be.
pub fn options(plan: &PagePlan) -> Result<Option<Options>> {
    let Some(listen) = plan.listen else { return Ok(None) };
    let token = match &plan.token_file {
        Some(file) => Some(token(&file.path).map_err(|error| error.context(&file.origin))?),
        None => None,
    };
    let tls = match &plan.tls {
        Some((certificate, key)) => {
            let client_authority = plan.client_ca_file.as_ref().map(|file| file.path.clone());
            let files = tls::Files { certificate: certificate.path.clone(), key: key.path.clone(), client_authority };
            Some(tls::load(&files).map_err(|error| error.context(&certificate.origin))?)
        }
        None => None,
    };
    let access = Access { token, open_to_read: plan.is_open_to_read(), host_names: plan.host_names.clone() };
    Ok(Some(Options { listen, access, tls }))
}

/// What the operator should know before a page is served with this configuration.
pub fn notes(plan: &PagePlan) -> Vec<String> {
    let in_the_clear = plan.listen.is_some_and(|listen| !listen.ip().is_loopback()) && plan.tls.is_none();
    let note = "the page sends its figures and takes its token without TLS: write tls_certificate and tls_key in [page] unless something in front of it does that";
    in_the_clear.then(|| note.to_owned()).into_iter().collect()
}

/// Serves the page. What keeps it from being served raises an alert.
///
/// # Errors
/// Those of [`Server::start`].
pub fn serve(options: Option<Options>, live: &Arc<Live>, board: &Arc<StatusBoard>) -> Result<Option<Server>> {
    let board = Arc::clone(board);
    let start = |options| Server::start(options, live, Box::new(move |text| board.alert(Topic::Page, text)));
    options.map(start).transpose()
}

fn token(path: &Path) -> Result<Token> {
    let failed = |what: String| Error::input(format!("{}: {what}", path.display()));
    let content = secret::read_bounded(path, 2 * TOKEN_BYTES_MAX as u64)?;
    Token::new(&content).map_err(failed)
}

#[cfg(test)]
mod tests;
