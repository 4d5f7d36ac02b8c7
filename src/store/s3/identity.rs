//! Where credentials come from, and how they are asked for again.
//!
//! [`Chain`] asks the usual places in the order of the AWS tools: the environment, the profile, web
//! identity, the container, the instance. Every time it begins anew, and so reads the files again:
//! tools that renew credentials rewrite them. Variables that are set to nothing are no places.
//!
//! The SDK keeps credentials until they expire, by their own word and this machine's clock. Those
//! without a word on it (a session's in a file) it keeps for 15 minutes. A server may refuse them
//! earlier. So [`Renewal`] stands in front of the SDK's cache: credentials that a server refuses
//! are forgotten, and the attempt is repeated with those that the provider gives then. If it gives
//! the same ones, the refusal is the answer.

use super::environment::Environment;
use super::error::chain_text;
use super::settings::Profile;
use crate::threads::lock;
use aws_config::Region;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextMut};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::{IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use std::fmt;
use std::sync::{Arc, Mutex};

/// The codes by which servers refuse credentials that other ones could replace.
const REFUSED_CODES: [&str; 7] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
    "InvalidToken",
    "InvalidTokenId",
    "InvalidAccessKeyId",
];

/// The places that credentials come from.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) environment: Environment,
    pub(super) profile: Profile,
    pub(super) region: String,
    pub(super) http: SharedHttpClient,
}

/// What to do about credentials that were not found, or not given. An error of the SDK carries it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Advice(String);

impl Chain {
    async fn ask(&self) -> provider::Result {
        let config = ProviderConfig::without_region().with_http_client(self.http.clone());
        let config = config.with_region(Some(Region::new(self.region.clone())));
        let from_profile = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(&self.profile.name);
        let from_profile = from_profile.profile_files(self.profile.files()).build();
        // A profile that is named explicitly takes precedence over keys in the environment.
        let mut chain = if self.profile.is_explicit {
            CredentialsProviderChain::first_try("Profile", from_profile)
        } else {
            let from_environment = EnvironmentVariableCredentialsProvider::new();
            CredentialsProviderChain::first_try("Environment", from_environment).or_else("Profile", from_profile)
        };
        if !self.profile.is_explicit {
            if self.environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
                chain = chain.or_else("WebIdentityToken", WebIdentityTokenCredentialsProvider::builder().configure(&config).build());
            }
            if self.environment.first(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]).is_some() {
                chain = chain.or_else("EcsContainer", EcsCredentialsProvider::builder().configure(&config).build());
            }
            chain = chain.or_else("Ec2InstanceMetadata", ImdsCredentialsProvider::builder().configure(&config).build());
        }
        chain.provide_credentials().await.map_err(|error| self.advised(error))
    }

    /// The same error with advice.
    fn advised(&self, error: CredentialsError) -> CredentialsError {
        let said = chain_text(&error);
        let profile = &self.profile.name;
        match error {
            CredentialsError::CredentialsNotLoaded(_) if self.profile.is_explicit => CredentialsError::not_loaded(Advice(format!(
                "the profile {profile:?} has no credentials: write aws_access_key_id and aws_secret_access_key, a role or an SSO session into it ({})",
                self.profile.files_text()
            ))),
            CredentialsError::CredentialsNotLoaded(_) => CredentialsError::not_loaded(Advice(format!(
                "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile that has some (the profile {profile:?} in {} \
                 has none), or give this machine a role",
                self.profile.files_text()
            ))),
            // The SDK's own types for this are private.
            CredentialsError::ProviderError(_) if said.contains("SSO") || said.contains("sso") => {
                CredentialsError::provider_error(Advice(format!("{said}; sign in again: aws sso login --profile {profile}")))
            }
            other => other,
        }
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
    }
}

/// Credentials by their names: the access key's id and the session's token, which is not shown.
#[derive(Clone, PartialEq, Eq)]
struct Named(String, Option<String>);

impl fmt::Debug for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Named").field(&self.0).finish_non_exhaustive()
    }
}

impl Storable for Named {
    type Storer = StoreReplace<Named>;
}

/// Which credentials the provider gave, and what became of them.
struct Given {
    cache: SharedIdentityCache,
    last: Option<Named>,
    /// The last ones were refused, and the next request asks the provider.
    is_forgotten: bool,
    /// The provider gave the last ones again after they were refused.
    is_repeated: bool,
}

/// The SDK's cache of credentials, which forgets those that a server refuses.
#[derive(Clone)]
pub(super) struct Renewal(Arc<Mutex<Given>>);

impl fmt::Debug for Renewal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Renewal").finish_non_exhaustive()
    }
}

impl Renewal {
    pub(super) fn new() -> Self {
        let cache = IdentityCache::lazy().build();
        Renewal(Arc::new(Mutex::new(Given { cache, last: None, is_forgotten: false, is_repeated: false })))
    }

    fn gave(&self, named: Named) {
        let mut given = lock(&self.0);
        let is_same = given.last.as_ref() == Some(&named);
        given.is_repeated = is_same && (given.is_repeated || given.is_forgotten);
        given.is_forgotten = false;
        given.last = Some(named);
    }

    /// Notes that a server refused these. Returns whether another attempt would be made with
    /// others.
    fn refused(&self, named: &Named) -> bool {
        let mut given = lock(&self.0);
        if given.last.as_ref() != Some(named) || given.is_forgotten {
            return true;
        }
        given.cache = IdentityCache::lazy().build();
        given.is_forgotten = true;
        !given.is_repeated
    }
}

impl ResolveCachedIdentity for Renewal {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        state: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        IdentityFuture::new(async move {
            let cache = lock(&self.0).cache.clone();
            let identity = cache.resolve_cached_identity(resolver, components, state).await?;
            if let Some(credentials) = identity.data::<Credentials>() {
                self.gave(Named(credentials.access_key_id().to_owned(), credentials.session_token().map(str::to_owned)));
            }
            Ok(identity)
        })
    }
}

/// Marks an answer whose request is worth another attempt, because it will have other credentials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewed;

#[dyn_dispatch_hint]
impl Intercept for Renewal {
    fn name(&self) -> &'static str {
        "AmberRenewal"
    }

    /// The request is gone when its answer is there.
    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(named) = signed_by(context.request()) {
            state.interceptor_state().store_put(named);
        }
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_refused = context.response().and_then(super::attempts::code).is_some_and(|code| REFUSED_CODES.contains(&code));
        let named = state.load::<Named>().filter(|_| is_refused);
        if named.is_some_and(|named| self.refused(named))
            && let Some(response) = context.response_mut()
        {
            response.add_extension(Renewed);
        }
        Ok(())
    }
}

/// The credentials by which a request was signed.
fn signed_by(request: &HttpRequest) -> Option<Named> {
    let (_, behind) = request.headers().get("authorization")?.split_once("Credential=")?;
    let token = request.headers().get("x-amz-security-token").map(str::to_owned);
    Some(Named(behind.split_once('/')?.0.to_owned(), token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(token: &str) -> Named {
        Named("id".to_owned(), Some(token.to_owned()))
    }

    #[test]
    fn what_is_refused_is_asked_for_again_once() {
        let renewal = Renewal::new();
        renewal.gave(named("old"));
        assert!(renewal.refused(&named("old")), "the provider may have others");
        assert!(renewal.refused(&named("old")), "another request that was under way");
        renewal.gave(named("new"));
        assert!(renewal.refused(&named("old")), "the last one of those under way");
        assert!(renewal.refused(&named("new")));
        renewal.gave(named("new"));
        assert!(!renewal.refused(&named("new")), "the provider has no others");
        renewal.gave(named("new"));
        assert!(!renewal.refused(&named("new")), "still");
        renewal.gave(named("newer"));
        assert!(renewal.refused(&named("newer")), "those may be renewed, too");
    }

    #[test]
    fn requests_say_who_signed_them() {
        let mut request = HttpRequest::empty();
        assert!(signed_by(&request).is_none());
        request.headers_mut().insert("authorization", "AWS4-HMAC-SHA256 Credential=id/20261201/r/s3/aws4_request, SignedHeaders=host");
        assert!(signed_by(&request) == Some(Named("id".to_owned(), None)));
        request.headers_mut().insert("x-amz-security-token", "old");
        assert!(signed_by(&request) == Some(named("old")));
    }
}
