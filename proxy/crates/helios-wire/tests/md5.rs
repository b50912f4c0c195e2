//! MD5 authentication against values PostgreSQL 15 made.

use helios_wire::md5::{is_shadow, response, shadow, verify};

#[test]
fn shadow_is_what_postgresql_stores() {
    // select rolpassword from pg_authid, after: create role dora password 'pencil'
    assert_eq!(
        shadow("dora", "pencil"),
        "md52434af2c70bb43bd45c168a8ce9bdc63"
    );
}

#[test]
fn response_verifies_and_depends_on_the_salt() {
    let stored = shadow("dora", "pencil");

    let answer = response(&stored, [1, 2, 3, 4]);

    assert!(is_shadow(&answer));
    assert!(verify(&stored, [1, 2, 3, 4], answer.as_bytes()));
    assert!(verify(
        &stored.to_uppercase().replacen("MD5", "md5", 1),
        [1, 2, 3, 4],
        answer.as_bytes()
    ));
    assert!(!verify(&stored, [1, 2, 3, 5], answer.as_bytes()));
    assert!(!verify(
        &shadow("dora", "pencils"),
        [1, 2, 3, 4],
        answer.as_bytes()
    ));
}

#[test]
fn broken_answers_and_secrets_are_refused() {
    let stored = shadow("dora", "");
    let answer = response(&stored, [0; 4]);

    for end in 0..answer.len() {
        assert!(!verify(&stored, [0; 4], &answer.as_bytes()[..end]));
    }
    for at in 0..answer.len() {
        for byte in (0..=u8::MAX).filter(|byte| *byte != answer.as_bytes()[at]) {
            let mut mutated = answer.clone().into_bytes();
            mutated[at] = byte;
            assert!(!verify(&stored, [0; 4], &mutated));
        }
    }
    for secret in [
        "",
        "md5",
        "md5x",
        "md52434af2c70bb43bd45c168a8ce9bdc6g",
        "2434af2c70bb43bd45c168a8ce9bdc63",
        "md5é",
    ] {
        assert!(!is_shadow(secret));
        assert!(
            !verify(secret, [0; 4], response(secret, [0; 4]).as_bytes()),
            "{secret:?} is no secret"
        );
    }
}
