//! What the options, the environment and the AWS configuration files say together.
//!
//! The order is that of the AWS tools: an option, then a variable, then the profile. Whatever
//! cannot be meant (a profile that does not exist, an endpoint without a host, half of a pair of
//! keys) is refused here, before any request, by the name under which it was written.
//! <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html>,
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>

use super::client::S3Options;
use super::environment::Environment;
use super::error::chain_text;
use super::proxy::Proxies;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileRegionProvider, ProfileSet};
use aws_runtime::env_config::EnvConfigValue;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use http::Uri;
use std::path::{Path, PathBuf};

/// The Region for servers that have none: they expect it in a signature unless they are configured
/// otherwise.
const REGION_OF_OTHER_SERVERS: &str = "us-east-1";

/// A server of AWS, wherever the bucket is.
const AWS: &str = "https://s3.amazonaws.com";

/// A profile of the AWS configuration, and the files that it may be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) name: String,
    /// An option names it, so it takes precedence over keys in the environment.
    pub(super) is_explicit: bool,
    config: PathBuf,
    credentials: PathBuf,
}

/// The settings of one client.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) profile: Profile,
    /// URL of a server other than AWS.
    pub(super) endpoint: Option<String>,
    /// `None` if only this machine's instance could know it.
    pub(super) region: Option<String>,
    /// Whether the bucket goes into the path instead of the host name.
    pub(super) path_style: bool,
    /// Certificate authorities to trust instead of this machine's, for every request.
    pub(super) ca_bundle: Option<PathBuf>,
    pub(super) proxies: Proxies,
}

impl Settings {
    /// Reads the environment and the configuration files. The error is only the reason.
    pub(super) async fn resolve(options: &S3Options, environment: &Environment) -> Result<Settings, String> {
        let profile = Profile::of(options, environment)?;
        let sections = profile.sections(environment).await?;
        profile.check(&sections, environment)?;
        if options.access_key.is_none() && !profile.is_explicit {
            check_pairs(environment)?;
        }
        let endpoint = endpoint(options, environment, &sections)?;
        let region = match options.region.as_deref().or_else(|| Some(environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"])?.1)) {
            Some(region) => Some(region.to_owned()),
            None => profile.region().await.or_else(|| endpoint.as_ref().map(|_| REGION_OF_OTHER_SERVERS.to_owned())),
        };
        let path_style = options.path_style.or_else(|| addressing_style(&sections)).unwrap_or(endpoint.is_some());
        let ca_bundle = environment.get("AWS_CA_BUNDLE").or_else(|| sections.get("ca_bundle")).map(|path| expanded(path, environment));
        let proxies = Proxies::of(environment);
        let server = endpoint.as_deref().unwrap_or(AWS).parse().map_err(|error| format!("no URL: {error}"))?;
        proxies.for_server(&server).map_err(|error| error.to_string())?;
        Ok(Settings { profile, endpoint, region, path_style, ca_bundle, proxies })
    }
}

impl Profile {
    fn of(options: &S3Options, environment: &Environment) -> Result<Self, String> {
        let named = (environment.get("AWS_PROFILE"), environment.get("AWS_DEFAULT_PROFILE"));
        let name = match (&options.profile, named) {
            (Some(name), _) => name,
            (None, (Some(name), Some(other))) if name != other => {
                return Err(format!("AWS_PROFILE={name:?} and AWS_DEFAULT_PROFILE={other:?} name two profiles: unset one of them"));
            }
            (None, (Some(name), _) | (None, Some(name))) => name,
            (None, (None, None)) => "default",
        };
        let path = |variable, default| expanded(environment.get(variable).unwrap_or(default), environment);
        Ok(Profile {
            name: name.to_owned(),
            is_explicit: options.profile.is_some(),
            config: path("AWS_CONFIG_FILE", "~/.aws/config"),
            credentials: path("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        })
    }

    /// The files as they are now. One that is not there holds nothing.
    pub(super) fn files(&self) -> EnvConfigFiles {
        // The SDK wants one at least.
        let mut files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, "");
        for (kind, path) in [(EnvConfigFileKind::Config, &self.config), (EnvConfigFileKind::Credentials, &self.credentials)] {
            if path.exists() {
                files = files.with_file(kind, path);
            }
        }
        files.build()
    }

    /// The files by their names, for messages.
    pub(super) fn files_text(&self) -> String {
        format!("{} and {}", self.config.display(), self.credentials.display())
    }

    async fn sections(&self, environment: &Environment) -> Result<ProfileSet, String> {
        let variables = environment.variables().into();
        let loaded = aws_config::profile::load(&Default::default(), &variables, &self.files(), Some(self.name.clone().into())).await;
        loaded.map_err(|error| format!("the AWS configuration cannot be used: {}", chain_text(&error)))
    }

    fn check(&self, sections: &ProfileSet, environment: &Environment) -> Result<(), String> {
        let name = &self.name;
        if sections.get_profile(name).is_some() || name == "default" && !self.is_explicit {
            return Ok(());
        }
        let from = match self.is_explicit {
            true => "",
            false => environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]).map_or("", |(variable, _)| variable),
        };
        let from = if from.is_empty() { String::new() } else { format!(" (from {from})") };
        let mut others: Vec<&str> = sections.profiles().collect();
        others.sort_unstable();
        let others = if others.is_empty() { "they have none".to_owned() } else { format!("they have {}", others.join(", ")) };
        Err(format!(
            "there is no profile {name:?}{from} in {}, {others}: correct the name, or add a section ([profile {name}] in the first file, \
             [{name}] in the second)",
            self.files_text()
        ))
    }

    async fn region(&self) -> Option<String> {
        let provider = ProfileFileRegionProvider::builder().profile_name(&self.name).profile_files(self.files()).build();
        provider.region().await.map(|region| region.to_string()).filter(|region| !region.is_empty())
    }
}

/// A path that may begin with `~/`.
fn expanded(path: &str, environment: &Environment) -> PathBuf {
    match (path.strip_prefix("~/"), environment.get("HOME")) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// Refuses what is only half there. The SDK would go on to the next source without a word.
fn check_pairs(environment: &Environment) -> Result<(), String> {
    let is_set = |name| environment.get(name).is_some();
    if is_set("AWS_ACCESS_KEY_ID") {
        if !is_set("AWS_SECRET_ACCESS_KEY") && !is_set("SECRET_ACCESS_KEY") {
            return Err("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not: set both or neither".to_owned());
        }
    } else if is_set("AWS_WEB_IDENTITY_TOKEN_FILE") && !is_set("AWS_ROLE_ARN") {
        return Err("AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not: set both or neither".to_owned());
    }
    Ok(())
}

fn endpoint(options: &S3Options, environment: &Environment, sections: &ProfileSet) -> Result<Option<String>, String> {
    if let Some(url) = &options.endpoint {
        check_endpoint(url, "the endpoint")?;
        return Ok(Some(url.clone()));
    }
    let is_ignored = environment.is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        || sections.get("ignore_configured_endpoint_urls").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if is_ignored {
        return Ok(None);
    }
    if let Some((variable, url)) = environment.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) {
        check_endpoint(url, variable)?;
        return Ok(Some(url.to_owned()));
    }
    let variables = environment.variables().into();
    let Some((url, _)) = EnvConfigValue::new().profile("endpoint_url").service_id("S3").load(&variables, Some(sections)) else {
        return Ok(None);
    };
    check_endpoint(&url, &format!("endpoint_url of the AWS profile {:?}", sections.selected_profile()))?;
    Ok(Some(url.into_owned()))
}

/// Refuses an endpoint that names no server; `named` says where it was written. The error does not
/// repeat what may hold a secret.
pub(crate) fn check_endpoint(url: &str, named: &str) -> Result<(), String> {
    if url.contains('@') {
        return Err(format!("{named}: credentials do not belong in the endpoint, use the environment, a profile or a role of AWS"));
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("{named} {url:?} is no URL: write https://host:port"));
    }
    let behind = url.split_once("://").map_or("", |(_, behind)| behind);
    if behind.is_empty() || behind.starts_with(['/', ':', '?', '#']) {
        return Err(format!("{named} {url:?} names no host: write https://host:port"));
    }
    let parsed = url.parse::<Uri>().map_err(|error| format!("{named} {url:?} is no URL ({error}): write https://host:port"))?;
    let authority = parsed.authority().ok_or_else(|| format!("{named} {url:?} names no host: write https://host:port"))?;
    let has_port = authority.as_str().len() > authority.host().len();
    if has_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(format!("{named} {url:?} has a port that does not exist: write https://host:port"));
    }
    if parsed.query().is_some() {
        return Err(format!("{named} {url:?} has a query: write https://host:port"));
    }
    Ok(())
}

/// `addressing_style` of the profile's settings for S3, as the AWS CLI reads it; `None` if it is
/// `auto` or not there. <https://docs.aws.amazon.com/cli/latest/topic/s3-config.html>
fn addressing_style(sections: &ProfileSet) -> Option<bool> {
    let mut lines = sections.get("s3")?.lines().filter_map(|line| line.split_once('='));
    let (_, style) = lines.rfind(|(key, _)| key.trim() == "addressing_style")?;
    match style.trim() {
        "path" => Some(true),
        "virtual" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
