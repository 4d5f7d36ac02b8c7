//! What a restored ledger must hold, and the check of it through a real server.

use super::cluster::Cluster;
use super::program::number;
use amber::demo::{Books, Expected, LoadPlan, check_books};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long a check may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What a ledger restored to a point must hold of a load: at least these acknowledged requests of
/// each client, and exactly what the ledger at `original` held at that point.
pub fn expected(plan: LoadPlan, acknowledged: &[u64], restored: &Value, original: Option<String>) -> Expected {
    Expected {
        plan,
        acknowledged: acknowledged.to_vec(),
        recovered_to_ns: number(restored, "timestamp_ns"),
        ends_with_transfers: restored["operation"] == "create_transfers",
        original,
        timeout: TIMEOUT,
    }
}

/// Serves restored images, one per replica, and checks the books against the original, which still
/// runs. `acknowledged` may be empty: then no request is required.
pub fn check_restored(images: &[PathBuf], restored: &Value, plan: LoadPlan, acknowledged: &[u64], original: &Cluster) -> Books {
    let server = Cluster::open(original.id(), images).unwrap();
    let none = vec![0; plan.clients];
    let acknowledged = if acknowledged.is_empty() { &none } else { acknowledged };
    check_books(original.id(), &server.addresses(), &expected(plan, acknowledged, restored, Some(original.addresses()))).unwrap()
}
