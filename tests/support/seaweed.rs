//! SeaweedFS as the S3 server of the tests. It really has conditional puts, checked SHA-256,
//! versioning and Object Lock.
//!
//! All its parts run in one process, `weed mini`. Everything binds to 127.0.0.1 and each of its
//! ports is chosen here, so that several can run at once; its telemetry is off.

use super::{folder, tool};
use amber::demo::{Guarded, free_ports};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The bucket that exists from the start.
pub const BUCKET: &str = "amber";

/// The user who may do everything.
pub const ACCESS_KEY: &str = "amber-test-key";

/// That user's secret.
pub const SECRET_KEY: &str = "amber-test-secret";

/// A start takes a second; a busy machine may take longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What it prints when everything is up.
const READY: &str = "All enabled components are running";

/// A worker inside looks for the admin part at its port plus this, whatever the flags say.
const ADMIN_GRPC_OFFSET: u16 = 10_000;

/// How often a start is repeated when another process took its ports meanwhile.
const PORT_TRIES: usize = 3;

/// A running S3 server, killed when dropped.
pub struct Seaweed {
    process: Guarded,
    s3_port: u16,
    https_port: Option<u16>,
    ports: Vec<u16>,
    // The last field: it is dropped after the server is gone.
    folder: TempDir,
}

impl Seaweed {
    /// A server with an empty bucket [`BUCKET`], over plain HTTP.
    pub fn start() -> Seaweed {
        Seaweed::start_with(false)
    }

    /// The same, and with HTTPS too: its certificate is signed by the authority in
    /// [`Seaweed::authority_file`].
    pub fn start_tls() -> Seaweed {
        Seaweed::start_with(true)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port)
    }

    /// `https://127.0.0.1:PORT`; only of [`Seaweed::start_tls`].
    pub fn endpoint_tls(&self) -> String {
        format!("https://127.0.0.1:{}", self.https_port.unwrap())
    }

    /// The certificate to trust, in PEM; only of [`Seaweed::start_tls`].
    pub fn authority_file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Its process id, for watching its CPU time.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it with SIGKILL: the store is gone from now on.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again after [`Seaweed::kill`], on the same ports and with everything that it held.
    pub fn come_back(&mut self) {
        let log = self.folder.path().join("log-again");
        self.process = Guarded::spawn("SeaweedFS", &command(self.folder.path(), &self.ports, self.https_port.is_some()), &log).unwrap();
        let port = self.s3_port;
        let up = |log: &str| log.contains(READY) && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        self.process.wait_until(START_TIMEOUT, up).unwrap();
    }

    fn start_with(tls: bool) -> Seaweed {
        let mut tries = 1;
        loop {
            let folder = folder("seaweed");
            if tls {
                write_certificates(folder.path());
            }
            let mut ports = free_ports(10).unwrap();
            ports.push(admin_port());
            let process = Guarded::spawn("SeaweedFS", &command(folder.path(), &ports, tls), &folder.path().join("log")).unwrap();
            let mut seaweed = Seaweed { process, s3_port: ports[6], https_port: tls.then_some(ports[8]), ports, folder };
            let port = seaweed.s3_port;
            let up = |log: &str| log.contains(READY) && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            match seaweed.process.wait_until(START_TIMEOUT, up) {
                Ok(()) => return seaweed,
                Err(_) if tries < PORT_TRIES => tries += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.process.kill();
        // It puts sockets there whatever its options say, and a killed server leaves them behind.
        let admin_grpc = self.ports.last().map(|port| port + ADMIN_GRPC_OFFSET);
        for port in self.ports.iter().copied().chain(admin_grpc) {
            for part in ["master", "volume", "filer", "s3", "admin"] {
                let _ = std::fs::remove_file(format!("/tmp/seaweedfs-{part}-grpc-{port}.sock"));
            }
        }
    }
}

fn command(folder: &Path, ports: &[u16], tls: bool) -> Command {
    let mut command = Command::new(tool("weed"));
    // The paths are relative, because the names of sockets must be short.
    command.current_dir(folder).env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command.args(["-logdir=.", "mini", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]);
    command.args(["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.args(["-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"]).arg(format!("-bucket={BUCKET}"));
    let names =
        ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"];
    for (name, port) in names.iter().zip(ports) {
        command.arg(format!("-{name}={port}"));
    }
    let admin = ports[10];
    command.arg(format!("-admin.port={admin}")).arg(format!("-admin.port.grpc={}", admin + ADMIN_GRPC_OFFSET));
    if tls {
        command.arg(format!("-s3.port.https={}", ports[8])).args(["-s3.cert.file=server.pem", "-s3.key.file=server.key"]);
    }
    command
}

/// A free port whose partner for gRPC is free, too, and below the ports of outgoing connections.
fn admin_port() -> u16 {
    let admin = |port: u16| port.checked_sub(ADMIN_GRPC_OFFSET).filter(|&port| port > ADMIN_GRPC_OFFSET).unwrap_or(port);
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let both_are_free = |port: &u16| is_free(*port) && is_free(port + ADMIN_GRPC_OFFSET);
    free_ports(20).unwrap().into_iter().map(admin).find(both_are_free).unwrap()
}

/// Writes an authority of our own and the server's certificate and key, in PEM.
pub fn write_certificates(folder: &Path) {
    let mut authority = CertificateParams::default();
    // By default both would have the same name, and the server's certificate would look
    // self-signed.
    authority.distinguished_name.push(DnType::CommonName, "Amber test authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let server = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}
