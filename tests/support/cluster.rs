//! TigerBeetle clusters of one or three replicas, new or on restored files.

use super::{folder, sparse, tigerbeetle};
use amber::demo::server::addresses;
use amber::demo::{Server, ServerOptions, free_ports, wait_serving};
use amber::error::Result;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// How often a start is repeated when another process took its ports meanwhile.
const PORT_TRIES: usize = 5;

/// How long a cluster may take from listening to serving: electing a view, replaying the log.
const SERVING_TIMEOUT: Duration = Duration::from_secs(120);

/// The cluster id of new clusters: larger than 64 bits, as real ones are.
pub const CLUSTER: u128 = 0xa3be_0000_0000_0000_0000_0007;

/// Replicas and the ports they share. Dropping it kills them, then removes their files if they were
/// created here.
pub struct Cluster {
    id: u128,
    ports: Vec<u16>,
    servers: Vec<Option<Server>>,
    options: Vec<ServerOptions>,
    // The last field: it is dropped after the servers are gone.
    folder: Option<TempDir>,
}

impl Cluster {
    /// A new cluster in its own folder, serving.
    pub fn new(replica_count: u8) -> Cluster {
        let folder = folder("cluster");
        let files = (0..replica_count).map(|replica| folder.path().join(format!("{replica}.tigerbeetle"))).collect::<Vec<_>>();
        for (replica, file) in (0..).zip(&files) {
            sparse::copy(&formatted(replica, replica_count), file);
        }
        Cluster { folder: Some(folder), ..Cluster::open(CLUSTER, &files).unwrap() }
    }

    /// A cluster on existing data files, one per replica in their order, for example restored ones;
    /// serving.
    pub fn open(id: u128, data_files: &[PathBuf]) -> Result<Cluster> {
        Cluster::open_with(id, data_files.iter().map(|file| server_options(file)).collect())
    }

    /// As [`Cluster::open`], with further options for each server.
    pub fn open_with(id: u128, options: Vec<ServerOptions>) -> Result<Cluster> {
        let mut tries = 1;
        loop {
            let ports = free_ports(options.len())?;
            let servers = options.iter().map(|_| None).collect();
            let mut cluster = Cluster { id, ports, servers, options: options.clone(), folder: None };
            match cluster.start_all() {
                Ok(()) => return Ok(cluster),
                Err(error) if tries < PORT_TRIES && error.message.contains("AddressInUse") => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its cluster id.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// The addresses for clients: all replicas.
    pub fn addresses(&self) -> String {
        addresses(&self.ports)
    }

    /// The data file of a replica.
    pub fn data_file(&self, replica: usize) -> &Path {
        &self.options[replica].data_file
    }

    /// The server of a running replica.
    pub fn server(&mut self, replica: usize) -> &mut Server {
        self.servers[replica].as_mut().unwrap()
    }

    /// Kills one replica with SIGKILL.
    pub fn kill(&mut self, replica: usize) {
        self.servers[replica] = None;
    }

    /// Kills all replicas with SIGKILL.
    pub fn kill_all(&mut self) {
        self.servers.fill_with(|| None);
    }

    /// Starts the replicas that do not run, on the same ports and files as before, and waits until
    /// the cluster serves.
    pub fn start_all(&mut self) -> Result<()> {
        for (replica, server) in (0_u8..).zip(&mut self.servers).filter(|(_, server)| server.is_none()) {
            *server = Some(Server::spawn(&self.options[usize::from(replica)], &self.ports, replica)?);
        }
        for (server, options) in self.servers.iter_mut().flatten().zip(&self.options) {
            server.wait_listening(options.start_timeout)?;
        }
        wait_serving(self.id, &self.addresses(), SERVING_TIMEOUT)
    }
}

/// The least memory that accepts every request: the memory that a server touches when it starts
/// costs seconds of CPU time on a virtual machine whose memory is cold.
fn server_options(data_file: &Path) -> ServerOptions {
    let small = ["--experimental", "--memory-lsm-manifest=16MiB", "--cache-accounts=16MiB"];
    ServerOptions { extra: small.map(str::to_owned).to_vec(), ..ServerOptions::new(&tigerbeetle(), data_file) }
}

/// A data file as `tigerbeetle format` makes it for a replica of [`CLUSTER`], made once: it is a
/// gigabyte, nearly all of it zeros, and always the same.
fn formatted(replica: u8, replica_count: u8) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept = kept.join(format!("formatted-{}-{CLUSTER:x}-{replica}-of-{replica_count}", tigerbeetle().version().unwrap()));
    if !kept.is_file() {
        let place = folder("format");
        let (whole, holes) = (place.path().join("whole"), place.path().join("holes"));
        tigerbeetle().format(&whole, CLUSTER, replica, replica_count).unwrap();
        sparse::copy(&whole, &holes);
        std::fs::rename(holes, &kept).unwrap();
    }
    kept
}
