use crate::config::AgentConfig;
use crate::error::{Error, Result};
use crate::ledger_events::event::EventPlace;
use std::path::Path;

const LEAST: &str = "data_file = \"/d\"\nstate_directory = \"/s\"\n[repository]\nurl = \"/r\"\npassphrase_file = \"/p\"\n";
const EVENTS: &str = "[events]\naddresses = \"3000\"\nledger = 700\nsystem_account = \"1\"\nall_tenants_account = \"2\"\n";

fn parse(tenants: &str) -> Result<AgentConfig> {
    AgentConfig::parse(Path::new("amber.toml"), &format!("{LEAST}{EVENTS}{tenants}"))
}

fn refused(tenants: &str) -> Error {
    parse(tenants).map(|_| ()).unwrap_err()
}

#[test]
fn a_tenant_has_its_number_account_and_ledger() {
    let config = parse(
        "[tenants.acme]\nid = \"42\"\n[tenants.bolt]\nid = \"43\"\naccount = \"4300\"\n\
         [tenants.cog]\nid = \"44\"\nledger = 701\nsystem_account = \"5\"\n",
    )
    .unwrap();
    let ids: Vec<(&str, &str)> = config.tenants.iter().map(|(name, tenant)| (name.as_str(), tenant.id.as_str())).collect();
    assert_eq!(ids, [("acme", "42"), ("bolt", "43"), ("cog", "44")]);
    let accounts = config.events.unwrap().accounts;
    let place = |tenant: Option<&str>| accounts.place(tenant).unwrap();
    let own = |credit| EventPlace { ledger: 700, debit: 1, credit };
    assert_eq!([place(None), place(Some("42")), place(Some("43")), place(Some("9"))], [own(2), own(42), own(4300), own(9)]);
    assert_eq!(place(Some("44")), EventPlace { ledger: 701, debit: 5, credit: 44 });
    assert_eq!(accounts.ledgers().into_iter().collect::<Vec<_>>(), [700, 701]);
}

#[test]
fn what_cannot_be_a_tenant_is_refused_with_its_line() {
    for (section, advice) in [
        ("[tenants.a]\naccount = \"1\"\n", "needs an id"),
        ("[tenants.a]\nid = \"x\"\n", "at most 128 bits"),
        ("[tenants.a]\nid = \"4\"\naccount = \"0\"\n", "no account with this number"),
        ("[tenants.a]\nid = \"4\"\nledger = 701\n", "needs a system_account of its own"),
        ("[tenants.a]\nid = \"4\"\nsystem_account = \"5\"\n", "goes with a ledger of its own"),
        ("[tenants.a]\nid = \"4\"\nledger = 701\nsystem_account = \"4\"\n", "are the same"),
        ("[tenants.a]\nid = \"4\"\n[tenants.b]\nid = \"4\"\n", "has the id of a"),
        ("[tenants.a]\nid = \"4\"\nname = \"A\"\n", "name"),
        ("[tenants.a]\nid = \"0\"\n", "no tenant has this number"),
        ("[tenants.a]\nid = \"42\"\n[tenants.b]\nid = \"042\"\n", "has the id of a"),
        ("[tenants.a]\nid = \"4\"\naccount = \"1\"\n", "is the one that is debited"),
        ("[tenants.a]\nid = \"1\"\n", "is the one that is debited"),
        ("[tenants.a]\nid = \"4\"\nledger = 701\nsystem_account = \"1\"\n", "in another ledger as system_account"),
        (
            "[tenants.a]\nid = \"4\"\naccount = \"9\"\n[tenants.b]\nid = \"5\"\naccount = \"9\"\nledger = 701\nsystem_account = \"6\"\n",
            "in another ledger as account of tenant a",
        ),
    ] {
        let error = refused(section);
        assert!(error.message.starts_with("amber.toml:") && error.message.contains(advice), "{section}: {error}");
    }
}
