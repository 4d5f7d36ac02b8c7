use super::{KEY_OBJECT_BYTES, RepositoryKey, Secret, Unwrapped, key_object_damage};
use crate::error::Kind;
use crate::pipeline::digest::digest_of;
use crate::repository::name::KEYS;
use crate::repository::sample::secret;
use zeroize::Zeroizing;

const ID: [u8; 16] = [3; 16];

fn passphrase(text: &str) -> Secret {
    Secret::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
}

fn name() -> String {
    format!("{KEYS}0000000000000001")
}

/// Distinguishes two keys without showing them.
fn fingerprint(key: &RepositoryKey) -> [u8; 32] {
    *key.derive(b"salt", &[b"info"]).unwrap()
}

/// Changes a key object and makes its checksum right again.
fn forged(object: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut object = object.to_vec();
    object[offset..offset + bytes.len()].copy_from_slice(bytes);
    let covered = object.len() - 32;
    let checksum = digest_of(&object[..covered]);
    object[covered..].copy_from_slice(&checksum);
    object
}

/// Makes the stored cost of a passphrase's key object the least that Argon2id knows, which opens
/// nothing but is quick to refuse.
fn cheap(object: &[u8]) -> Vec<u8> {
    let cost: Vec<u8> = [8_u32, 1, 1].iter().flat_map(|field| field.to_le_bytes()).collect();
    forged(object, 12, &cost)
}

fn key_of(unwrapped: Unwrapped) -> RepositoryKey {
    match unwrapped {
        Unwrapped::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_kinds_of_secret_open_what_they_wrapped() {
    let key = RepositoryKey::generate().unwrap();
    for secret in [secret(), passphrase("correct horse")] {
        let object = key.wrap(&secret, &ID, &name()).unwrap();
        assert_eq!(object.len(), KEY_OBJECT_BYTES);
        assert_eq!(key_object_damage(&object), None);
        let opened = key_of(RepositoryKey::unwrap(&object, &secret, &ID, &name()).unwrap());
        assert_eq!(fingerprint(&opened), fingerprint(&key));
        assert!(!object.windows(8).any(|window| fingerprint(&key).windows(8).any(|part| part == window)));
    }
    assert_ne!(fingerprint(&key), fingerprint(&RepositoryKey::generate().unwrap()));
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let object = RepositoryKey::generate().unwrap().wrap(&passphrase("correct horse"), &ID, &name()).unwrap();
    let outcome = RepositoryKey::unwrap(&object, &passphrase("correct horsf"), &ID, &name()).unwrap();
    assert!(matches!(outcome, Unwrapped::WrongSecret));
}

#[test]
fn a_key_object_is_bound_to_repository_name_and_cost() {
    let key = RepositoryKey::generate().unwrap();
    let object = key.wrap(&secret(), &ID, &name()).unwrap();
    let outcome = |object: &[u8], id: &[u8; 16], name: &str| RepositoryKey::unwrap(object, &secret(), id, name).unwrap();
    let is_wrong = |outcome: Unwrapped| matches!(outcome, Unwrapped::WrongSecret);
    assert!(is_wrong(outcome(&object, &[4; 16], &name())));
    assert!(is_wrong(outcome(&object, &ID, &format!("{KEYS}0000000000000002"))));
    assert!(is_wrong(outcome(&forged(&object, 12, &[1]), &ID, &name())), "a cost, though a key file has none");
    assert!(is_wrong(outcome(&forged(&object, 30, &[object[30] ^ 1]), &ID, &name())), "the salt");
    assert!(is_wrong(outcome(&forged(&object, 70, &[object[70] ^ 1]), &ID, &name())), "the wrapped key");
    let other_kind = RepositoryKey::unwrap(&object, &passphrase("x"), &ID, &name()).unwrap();
    assert!(matches!(other_kind, Unwrapped::OtherKind));
    let cheaper = cheap(&key.wrap(&passphrase("x"), &ID, &name()).unwrap());
    assert!(is_wrong(RepositoryKey::unwrap(&cheaper, &passphrase("x"), &ID, &name()).unwrap()));
}

#[test]
fn every_kind_of_damage_is_named() {
    let object = RepositoryKey::generate().unwrap().wrap(&secret(), &ID, &name()).unwrap();
    for (damaged, what) in [
        (object[1..].to_vec(), "wrong size"),
        (Vec::new(), "wrong size"),
        ([&object[..], &[0]].concat(), "wrong size"),
        (forged(&object, 0, b"X"), "not a key object"),
        (forged(&object, 8, &[2]), "not a key object of format version 1"),
        (forged(&object, 10, &[0]), "a kind that this version does not know"),
        (forged(&object, 10, &[3]), "a kind that this version does not know"),
        (forged(&object, 12, &(256 * 1024 + 1_u32).to_le_bytes()), "more memory or time"),
        (forged(&object, 16, &13_u32.to_le_bytes()), "more memory or time"),
        (forged(&object, 20, &17_u32.to_le_bytes()), "more memory or time"),
    ] {
        assert!(key_object_damage(&damaged).is_some_and(|damage| damage.contains(what)), "{what}");
        let outcome = RepositoryKey::unwrap(&damaged, &secret(), &ID, &name()).unwrap();
        assert!(matches!(outcome, Unwrapped::Damaged(damage) if damage.contains(what)), "{what}");
    }
    for offset in 0..object.len() {
        let mut flipped = object.clone();
        flipped[offset] ^= 4;
        assert!(key_object_damage(&flipped).is_some(), "byte {offset}");
    }
}

#[test]
fn a_cost_that_argon2_does_not_know_is_damage() {
    let object = RepositoryKey::generate().unwrap().wrap(&secret(), &ID, &name()).unwrap();
    let impossible = forged(&object, 10, &1_u16.to_le_bytes());
    let error = RepositoryKey::unwrap(&impossible, &passphrase("x"), &ID, &name()).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("Argon2id parameters are unusable"), "{error}");
}

#[test]
fn secrets_and_keys_do_not_print_themselves() {
    let key = RepositoryKey::generate().unwrap();
    assert_eq!(format!("{key:?} {:?} {:?}", secret(), passphrase("x")), "RepositoryKey KeyFile Passphrase");
}
