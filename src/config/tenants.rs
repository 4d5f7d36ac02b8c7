//! `[tenants.NAME]`: the tenants to whom backups may belong, and where their events are booked.

use super::bounds;
use super::events::{account, number};
use super::origin::{Origin, Text};
use crate::config::value::Value;
use crate::error::Result;
use crate::ledger_events::event::{Accounts, TenantAccounts, TenantLedger};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// `[tenants.NAME]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSection {
    /// The tenant's number, which names it in records.
    pub id: Value<String>,
    /// The account that is credited with its events.
    pub account: Value<String>,
    /// A ledger of its own.
    pub ledger: Value<i64>,
    /// The account that is debited there.
    pub system_account: Value<String>,
}

/// All sections, by the names of their tenants.
pub type TenantSections = BTreeMap<String, Spanned<TenantSection>>;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPlan {
    /// Its number, in decimal.
    pub id: String,
    /// Where its events are booked; `None` for the account with its number.
    pub accounts: Option<TenantAccounts>,
}

/// The tenants, by name.
pub type TenantsPlan = BTreeMap<String, TenantPlan>;

/// Checks all sections.
///
/// # Errors
/// [`crate::error::Error::input`] with the line and what to write instead.
pub(super) fn read(text: &Text<'_>, sections: &TenantSections) -> Result<TenantsPlan> {
    let mut plans = TenantsPlan::new();
    for (name, section) in sections {
        let origin = text.origin(section.span());
        let plan = read_one(text, section.get_ref(), &origin)?;
        if let Some((other, _)) = plans.iter().find(|(_, other)| other.id == plan.id) {
            return Err(origin.refuse(format!("{name} has the id of {other}: give each tenant a number of its own")));
        }
        plans.insert(name.clone(), plan);
    }
    Ok(plans)
}

fn read_one(text: &Text<'_>, section: &TenantSection, origin: &Origin) -> Result<TenantPlan> {
    let id = section.id.as_ref().ok_or_else(|| origin.refuse("a tenant needs an id: write id = \"42\", the number that names it"))?;
    let id_number = number(text, id)?;
    if id_number == 0 || id_number == u128::MAX {
        return Err(text.origin(id.span()).refuse("no tenant has this number: write one from 1 to 2^128 - 2"));
    }
    let own = account(text, &section.account)?;
    let ledger = bounds::EVENTS_LEDGER.check_if_given(text, &section.ledger)?.and_then(|ledger| u32::try_from(ledger).ok());
    let system = account(text, &section.system_account)?;
    let ledger = match (ledger, system) {
        (Some(ledger), Some(system)) => Some(TenantLedger { ledger, system }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(origin.refuse(
                "a ledger of its own needs a system_account of its own, because an account is in one ledger alone: write system_account = \"43\"",
            ));
        }
        (None, Some(_)) => {
            return Err(origin.refuse("a system_account of its own goes with a ledger of its own: write ledger = 701, or remove the line"));
        }
    };
    if let (Some(own), Some(TenantLedger { system, .. })) = (own.or(Some(id_number)), ledger)
        && own == system
    {
        return Err(
            origin.refuse("account and system_account are the same: an event moves from one to the other, so give them two numbers")
        );
    }
    let accounts = (own.is_some() || ledger.is_some()).then(|| TenantAccounts { account: own.unwrap_or(id_number), ledger });
    Ok(TenantPlan { id: id_number.to_string(), accounts })
}

/// The accounts of events, with those of the tenants.
///
/// # Errors
/// [`crate::error::Error::input`] where an event would move from an account to itself, or an
/// account would be in two ledgers: TigerBeetle refuses both.
pub(super) fn with_tenants(accounts: Accounts, tenants: &TenantsPlan, origin: &Origin) -> Result<Accounts> {
    let mut ledgers: BTreeMap<u128, (u32, String)> = BTreeMap::from([
        (accounts.system, (accounts.ledger, "system_account".to_owned())),
        (accounts.all_tenants, (accounts.ledger, "all_tenants_account".to_owned())),
    ]);
    let mut of_tenants = BTreeMap::new();
    for (name, tenant) in tenants {
        let id: u128 = tenant.id.parse().unwrap_or_default();
        let own = tenant.accounts.unwrap_or(TenantAccounts { account: id, ledger: None });
        let place = own.ledger.unwrap_or(TenantLedger { ledger: accounts.ledger, system: accounts.system });
        if own.account == place.system {
            return Err(origin.refuse(format!("the account of tenant {name} is the one that is debited: give it another number")));
        }
        for (account, what) in [(place.system, "system_account"), (own.account, "account")] {
            let (ledger, other) = ledgers.entry(account).or_insert_with(|| (place.ledger, format!("{what} of tenant {name}")));
            if *ledger != place.ledger {
                return Err(origin
                    .refuse(format!("the {what} of tenant {name} is in another ledger as {other}: an account is in one ledger alone")));
            }
        }
        of_tenants.extend(tenant.accounts.map(|accounts| (id, accounts)));
    }
    Ok(Accounts { tenants: of_tenants, ..accounts })
}

#[cfg(test)]
mod tests;
