//! The client of one bucket: options, runtime, time-outs, and what every request has in common.
//!
//! The calls of a store block, and the SDK is asynchronous. So a [`Client`] owns a small tokio
//! runtime, and every call runs on it under one deadline ([`Client::run`]). Attempts and their
//! pauses are the SDK's standard retries. [`Call`] is attached to each request. It hands the
//! caller's digest to the signature (so the SDK does not read the body for it) and counts the
//! attempts, because only a first attempt's answer is certain. How the attempts end decides how
//! many transfers run at once (`store::limiter`).
//!
//! Three times bound a request. A request that makes no progress ends after [`STALL_TIMEOUT`], so
//! that several stalls in a row fit into the deadline. An attempt that makes progress has time for
//! its bytes at [`LEAST_RATE`]. The deadline bounds everything.

use super::attempts::{Changed, Observer};
use super::clock::ClockWatch;
use super::environment::Environment;
use super::http::{http_client, tls_config};
use super::identity::{Chain, Renewal};
use super::settings::Settings;
use crate::backoff::Backoff;
use crate::store::StoreUrl;
use crate::store::limiter::Limiter;
use crate::store::s3::tls_minimum::TlsMinimum;
use crate::store::{Digest, StoreError, hex, random};
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, ConfigBag, Credentials, Intercept, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

/// How long TCP may take to connect. A reachable server answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for the sources of credentials: instance metadata is either close by or not there at
/// all.
const CREDENTIALS_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time without progress: no byte of the request was taken, and none of the answer was
/// received.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The slowest transfer that is waited for, in bytes per second: 16 at once fill a link of 16
/// Mbit/s.
const LEAST_RATE: u64 = 128 * 1024;

/// The calls that move an object's bytes.
const TRANSFERS: [&str; 3] = ["put", "put part", "get"];

/// First and longest pause between attempts. The SDK doubles the pause and multiplies it by a
/// random number.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Threads of the runtime: they only move bytes between sockets and buffers, and two keep a 10
/// Gbit/s link busy.
const RUNTIME_THREADS: usize = 2;

/// Encryption by the server, beneath Amber's own.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// The bucket's default setting.
    #[default]
    BucketDefault,
    /// SSE-S3, with keys of S3.
    S3,
    /// SSE-KMS.
    Kms {
        /// The key's id or ARN; the account's key for S3 if `None`.
        key_id: Option<String>,
    },
}

/// An access key that the program sets, instead of one that the AWS credential chain finds. It
/// never shows its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The session's token, for temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AccessKey").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// How to reach an S3 server. The default is AWS itself, with the Region and credentials that the
/// AWS tools would use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Options {
    /// URL of a server other than AWS (`https://host:port`), or of a private endpoint. If `None`:
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the profile's, as the AWS tools have it.
    pub endpoint: Option<String>,
    /// Region. If `None`, it is found as the AWS tools do; where they find none, it is `us-east-1`
    /// for an endpoint.
    pub region: Option<String>,
    /// Whether the bucket goes into the path instead of the host name. If `None`, it does only
    /// where there is an endpoint.
    pub path_style: Option<bool>,
    /// PEM file of the only certificate authorities that are accepted, instead of this machine's.
    /// If `None`: `AWS_CA_BUNDLE` or the profile's, if there is one.
    pub ca_file: Option<PathBuf>,
    /// The lowest TLS version accepted.
    pub tls_minimum: TlsMinimum,
    /// Encryption by the server.
    pub server_side_encryption: ServerSideEncryption,
    /// Storage class of new objects (`STANDARD_IA`, ...); the bucket's default if `None`.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html>
    pub storage_class: Option<String>,
    /// Profile in the AWS configuration files. Its credentials then take precedence over the
    /// environment's. If `None`: `AWS_PROFILE` or the default one.
    pub profile: Option<String>,
    /// Access key to use instead of the credential chain.
    pub access_key: Option<AccessKey>,
    /// Most time for one attempt of a request, apart from the time that its bytes take on a slow
    /// connection.
    pub request_timeout: Duration,
    /// Most time for one call of the store, with all attempts and pauses.
    pub deadline: Duration,
    /// Most attempts of one request.
    pub attempts: u32,
    /// Most transfers (puts, parts and reads) at once; fewer while the server is in trouble.
    pub transfers_max: u32,
}

impl Default for S3Options {
    fn default() -> Self {
        S3Options {
            endpoint: None,
            region: None,
            path_style: None,
            ca_file: None,
            tls_minimum: TlsMinimum::default(),
            server_side_encryption: ServerSideEncryption::default(),
            storage_class: None,
            profile: None,
            access_key: None,
            request_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(300),
            attempts: 5,
            transfers_max: 16,
        }
    }
}

/// The SDK's client with the runtime that it runs on, and the bucket.
pub(super) struct Client {
    pub(super) s3: aws_sdk_s3::Client,
    pub(super) bucket: String,
    prefix: String,
    pub(super) options: S3Options,
    pub(super) limiter: Arc<Limiter>,
    handle: Handle,
    /// An option only so that it can be shut down at the end.
    runtime: Option<Runtime>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("store", &self.describe()).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A hanging name look-up must not delay whoever drops the store.
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// Reads the AWS configuration and sets everything up. Contacts no S3 server. The error is only
    /// the reason.
    pub(super) fn open(bucket: &str, prefix: &str, options: &S3Options, environment: &Environment) -> Result<Client, String> {
        check_options(options)?;
        check_thread()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("amber-s3")
            .enable_all()
            .build()
            .map_err(|error| format!("no threads for network requests: {error}"))?;
        let handle = runtime.handle().clone();
        let limiter = Arc::new(Limiter::new(options.transfers_max));
        let s3 = block_on(&handle, configure(bucket, options, environment, &limiter))??;
        let (bucket, prefix, options) = (bucket.to_owned(), prefix.to_owned(), options.clone());
        Ok(Client { s3, bucket, prefix, options, limiter, handle, runtime: Some(runtime) })
    }

    /// The store as the user named it.
    pub(super) fn describe(&self) -> String {
        StoreUrl::S3 { bucket: self.bucket.clone(), prefix: self.prefix.clone() }.to_string()
    }

    /// The key of an object, or the beginning of keys.
    pub(super) fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// The name of the object that has this key.
    pub(super) fn name<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() { Some(key) } else { key.strip_prefix(&self.prefix)?.strip_prefix('/') }
    }

    /// Runs one call of the store to its end, within the deadline. A transfer first waits for its
    /// turn.
    pub(super) fn run<T>(
        &self,
        action: &'static str,
        name: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _permit = TRANSFERS.contains(&action).then(|| self.limiter.permit());
        self.run_within(self.options.deadline, action, name, call)
    }

    pub(super) fn run_within<T>(
        &self,
        deadline: Duration,
        action: &'static str,
        name: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let within = async move { tokio::time::timeout(deadline, call).await };
        match block_on(&self.handle, within) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                let reason = format!("not done within {} s", deadline.as_secs());
                Err(StoreError::Unavailable { store: self.describe(), action, name: name.to_owned(), reason })
            }
            Err(reason) => Err(StoreError::Refused { store: self.describe(), action, name: name.to_owned(), reason }),
        }
    }

    /// Most time for one attempt that moves this many bytes.
    pub(super) fn attempt_timeout(&self, size_bytes: u64) -> Duration {
        (self.options.request_timeout + Duration::from_secs(size_bytes / LEAST_RATE)).min(self.options.deadline)
    }

    /// The settings that differ for a request that moves this many bytes.
    pub(super) fn sized(&self, size_bytes: u64) -> aws_sdk_s3::config::Builder {
        let timeouts = time_outs(STALL_TIMEOUT.min(self.options.request_timeout), self.attempt_timeout(size_bytes));
        aws_sdk_s3::config::Builder::default().timeout_config(timeouts)
    }

    /// The settings that differ for a request on which the server works for long before it answers.
    pub(super) fn patient(&self) -> aws_sdk_s3::config::Builder {
        let timeouts = time_outs(self.options.request_timeout, self.options.request_timeout);
        aws_sdk_s3::config::Builder::default().timeout_config(timeouts)
    }

    /// A random pause before attempt `attempt` (from 1) of a request that the SDK does not repeat
    /// itself.
    pub(super) async fn pause(&self, attempt: u32) {
        let longest = Backoff { first: 2 * BACKOFF_FIRST, longest: BACKOFF_MAX }.after(attempt);
        tokio::time::sleep(longest.mul_f64(f64::from(random::<1>()[0]) / 255.0)).await;
    }
}

fn time_outs(stall: Duration, attempt: Duration) -> TimeoutConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT);
    timeouts.read_timeout(stall).operation_attempt_timeout(attempt).build()
}

/// Runs a future on the runtime.
fn block_on<T>(handle: &Handle, future: impl Future<Output = T>) -> Result<T, String> {
    check_thread()?;
    Ok(handle.block_on(future))
}

/// Refuses a call from inside an async task. Such a task must not wait for a store: tokio would
/// panic.
fn check_thread() -> Result<(), String> {
    match Handle::try_current() {
        Ok(_) => Err("a store was called from an async task, which it would block: report this".to_owned()),
        Err(_) => Ok(()),
    }
}

fn check_options(options: &S3Options) -> Result<(), String> {
    if options.attempts == 0 || options.transfers_max == 0 || options.request_timeout.is_zero() || options.deadline.is_zero() {
        return Err("attempts, transfers, request time-out and deadline must be more than 0".to_owned());
    }
    Ok(())
}

async fn configure(
    bucket: &str,
    options: &S3Options,
    environment: &Environment,
    limiter: &Arc<Limiter>,
) -> Result<aws_sdk_s3::Client, String> {
    let settings = Settings::resolve(options, environment).await?;
    let proxies = Arc::new(settings.proxies);
    let bundle_tls = |file: Option<&Path>| tls_config(file.or(settings.ca_bundle.as_deref()), options.tls_minimum);
    // The file names the authority of the S3 server. Roles and single sign-on are asked of AWS,
    // which this machine's authorities know.
    let http = http_client(bundle_tls(options.ca_file.as_deref())?, CONNECT_TIMEOUT, &proxies);
    let credentials_http = http_client(bundle_tls(None)?, CREDENTIALS_CONNECT_TIMEOUT, &proxies);
    let region = match settings.region {
        Some(region) => region,
        None => {
            let provider = ProviderConfig::without_region().with_http_client(credentials_http.clone());
            let asked = ImdsRegionProvider::builder().configure(&provider).build().region().await;
            asked.ok_or("no Region: set it in the configuration, in AWS_REGION or in the AWS profile")?.to_string()
        }
    };
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(credentials_http.clone())
        .region(Region::new(region.clone()))
        // Without it the SDK panics at a variable for retries that it cannot read.
        .retry_config(RetryConfig::standard())
        .profile_name(&settings.profile.name)
        .profile_files(settings.profile.files());
    loader = match &options.access_key {
        Some(key) => {
            let token = key.session_token.clone();
            loader.credentials_provider(Credentials::new(&key.access_key_id, &key.secret_access_key, token, None, "amber"))
        }
        None => {
            let (environment, profile) = (environment.clone(), settings.profile);
            loader.credentials_provider(Chain { environment, profile, region, http: credentials_http })
        }
    };
    let shared = loader.load().await;
    let timeouts = time_outs(STALL_TIMEOUT.min(options.request_timeout), options.request_timeout);
    let retries =
        RetryConfig::standard().with_max_attempts(options.attempts).with_initial_backoff(BACKOFF_FIRST).with_max_backoff(BACKOFF_MAX);
    let renewal = Renewal::new();
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .http_client(http)
        .identity_cache(renewal.clone())
        .force_path_style(settings.path_style)
        .timeout_config(timeouts)
        .retry_config(retries)
        .interceptor(Observer(Arc::clone(limiter)))
        .interceptor(renewal)
        .interceptor(ClockWatch::default())
        .retry_classifier(Changed)
        // Our own connections detect a stalled transfer, and a slow one is not stalled.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_partition(aws_sdk_s3::config::retry::RetryPartition::new(format!("amber-{bucket}")));
    config.set_endpoint_url(settings.endpoint);
    config.set_app_name(AppName::new("amber").ok());
    Ok(aws_sdk_s3::Client::from_conf(config.build()))
}

/// The state that is attached to every request of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    payload_sha256: Option<String>,
    attempts: Arc<AtomicU32>,
}

impl Call {
    /// For a request whose body has this digest.
    pub(super) fn with_digest(digest: &Digest) -> Self {
        Call { payload_sha256: Some(hex(digest)), attempts: Arc::default() }
    }

    /// Whether more than one attempt was sent. Then an earlier one may have done its work although
    /// its answer did not arrive.
    pub(super) fn repeated(&self) -> bool {
        self.attempts.load(Ordering::Relaxed) > 1
    }
}

#[dyn_dispatch_hint]
impl Intercept for Call {
    fn name(&self) -> &'static str {
        "AmberCall"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(digest) = &self.payload_sha256 {
            state.interceptor_state().store_put(PayloadSigningOverride::Precomputed(digest.clone()));
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
