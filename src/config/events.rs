//! `[events]`: the ledger that backup events are delivered to. It is off unless `addresses` is
//! written.

use super::bounds;
use super::origin::{Origin, Text};
use crate::config::value::Value;
use crate::error::Result;
use crate::ledger_events::event::Accounts;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The most replicas that TigerBeetle's clients accept.
const ADDRESSES_MAX: usize = 6;

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsSection {
    /// The replicas.
    pub addresses: Value<String>,
    /// The cluster's id.
    pub cluster: Value<String>,
    /// The ledger of the events.
    pub ledger: Value<i64>,
    /// The account that is debited.
    pub system_account: Value<String>,
    /// The account that is credited if there is no tenant.
    pub all_tenants_account: Value<String>,
    /// How long an answer may take.
    pub answer_timeout_ms: Value<i64>,
}

/// The ledger that takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsPlan {
    /// The cluster's replicas, as TigerBeetle's clients take them.
    pub addresses: String,
    /// The cluster's id; that of the data file if none is written.
    pub cluster: Option<u128>,
    /// The ledger's number, and the accounts that events are booked to.
    pub accounts: Accounts,
    /// How long an answer may take before that is an alert.
    pub answer_timeout: Duration,
    /// Where the addresses are written.
    pub origin: Origin,
}

/// Checks the section; `None` if it is off.
///
/// # Errors
/// [`crate::error::Error::input`] with the line and what to write.
pub(super) fn read(text: &Text<'_>, section: &EventsSection) -> Result<Option<EventsPlan>> {
    let answer_timeout = Duration::from_millis(bounds::ANSWER_TIMEOUT_MS.check(text, &section.answer_timeout_ms)?);
    let ledger = bounds::EVENTS_LEDGER.check_if_given(text, &section.ledger)?;
    let Some(addresses) = &section.addresses else {
        return refuse_without_addresses(text, section).map(|()| None);
    };
    let origin = text.origin(addresses.span());
    check_addresses(addresses.get_ref()).map_err(|advice| origin.refuse(advice))?;
    let missing = |key: &str, example: &str| {
        origin.refuse(format!("events need {key} too: write {key} = {example}, with a number of your own that is not 0"))
    };
    let ledger = ledger.and_then(|ledger| u32::try_from(ledger).ok()).ok_or_else(|| missing("ledger", "700"))?;
    let system = account(text, &section.system_account)?.ok_or_else(|| missing("system_account", "\"1\""))?;
    let all_tenants = account(text, &section.all_tenants_account)?.ok_or_else(|| missing("all_tenants_account", "\"2\""))?;
    if system == all_tenants {
        let advice = "system_account and all_tenants_account are the same: an event moves from one to the other, so give them two numbers";
        let place = section.all_tenants_account.as_ref().map_or(origin, |value| text.origin(value.span()));
        return Err(place.refuse(advice));
    }
    let cluster = section.cluster.as_ref().map(|value| number(text, value)).transpose()?;
    let accounts = Accounts { ledger, system, all_tenants, tenants: BTreeMap::new() };
    Ok(Some(EventsPlan { addresses: addresses.get_ref().clone(), cluster, accounts, answer_timeout, origin }))
}

/// Refuses a ledger or an account without addresses: whoever writes one wants events.
fn refuse_without_addresses(text: &Text<'_>, section: &EventsSection) -> Result<()> {
    let words = [&section.cluster, &section.system_account, &section.all_tenants_account];
    let spans = words.into_iter().flatten().map(toml::Spanned::span).chain(section.ledger.as_ref().map(toml::Spanned::span));
    match spans.min_by_key(|span| span.start) {
        Some(span) => Err(text.origin(span).refuse(
            "no events are sent without addresses: write addresses = \"127.0.0.1:3000\" (the replicas, with commas) in [events] too, or remove the line",
        )),
        None => Ok(()),
    }
}

/// Checks that TigerBeetle's clients accept the addresses: addresses and ports, separated by
/// commas.
///
/// # Errors
/// What to write instead.
pub fn check_addresses(addresses: &str) -> Result<(), String> {
    let all: Vec<&str> = addresses.split(',').collect();
    let good = |one: &&str| one.parse::<SocketAddr>().is_ok() || one.parse::<IpAddr>().is_ok() || one.parse::<u16>().is_ok();
    match all.iter().find(|one| !good(one)) {
        Some(wrong) => Err(format!(
            "{wrong:?} is no address: write numbers and a port, with commas between replicas: \"127.0.0.1:3000,127.0.0.1:3001\" (TigerBeetle's clients take \
             no names)"
        )),
        None if all.len() > ADDRESSES_MAX => Err(format!("a cluster has at most {ADDRESSES_MAX} replicas: write their addresses only")),
        None => Ok(()),
    }
}

pub(super) fn account(text: &Text<'_>, value: &Value<String>) -> Result<Option<u128>> {
    let Some(value) = value else { return Ok(None) };
    let account = number(text, value)?;
    if account == 0 || account == u128::MAX {
        return Err(text.origin(value.span()).refuse("TigerBeetle takes no account with this number: write one from 1 to 2^128 - 2"));
    }
    Ok(Some(account))
}

/// A number of 128 bits, which TOML does not have.
pub(super) fn number(text: &Text<'_>, value: &toml::Spanned<String>) -> Result<u128> {
    let advice = "it must be a number of at most 128 bits, in decimal and in double quotes";
    value.get_ref().parse().map_err(|_| text.origin(value.span()).refuse(advice))
}

#[cfg(test)]
mod tests;
