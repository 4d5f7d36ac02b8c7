//! The argument that says to whom a backup belongs.

use clap::Args;

/// To whom a backup belongs.
#[derive(Debug, Args)]
pub struct TenantArgument {
    /// The tenant whose data it is, by its number; everybody's otherwise. Records, the catalog and
    /// events name it.
    #[arg(long = "tenant", value_name = "NUMBER", value_parser = parse)]
    number: Option<u128>,
}

impl TenantArgument {
    /// The number in decimal, as records have it.
    pub fn number(&self) -> Option<String> {
        self.number.map(|number| number.to_string())
    }
}

fn parse(text: &str) -> Result<u128, String> {
    let number = text.parse().ok().filter(|number| (1..u128::MAX).contains(number));
    number.ok_or_else(|| "a tenant is a number from 1 to 2^128 - 2, because its events are booked to the account of that number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_tenant_is_a_number_that_can_be_an_account() {
        assert_eq!((parse("1"), parse("340282366920938463463374607431768211454")), (Ok(1), Ok(u128::MAX - 1)));
        for wrong in ["0", "340282366920938463463374607431768211455", "-1", "acme", ""] {
            assert!(parse(wrong).unwrap_err().contains("1 to 2^128 - 2"), "{wrong}");
        }
    }
}
