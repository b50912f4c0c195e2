//! SCRAM-SHA-256: the vector of RFC 7677, verifiers made by PostgreSQL 15, and both sides against each
//! other. Peers that misbehave are in `scram_hostile.rs`.

use helios_wire::scram::{
    salt_for, Challenge, Channel, ClientExchange, ClientKeys, ScramError, ServerExchange, Verifier,
};

/// From `pg_authid` of PostgreSQL 15. The password of alice is `pencil`; bob's is changed by SASLprep
/// (a soft hyphen, a Roman numeral), carol's holds a tab, which SASLprep prohibits.
const ALICE: &str = "SCRAM-SHA-256$4096:vxQUQKVbc/C3dPmXIszpvw==$DWVZU+BszNI+IsDtkZPrI/BwXJA1LKTpQrnGcM5ewlQ=:cp+3l30qVKFqadQaiRmlIRuIUfPLwFYtvfRzwvieACU=";
const BOB: &str = "SCRAM-SHA-256$4096:Si/7PpWjFOU7Ik7vX72vnA==$8M6Wr00Kghgb4mkVsXCrsMyem35Xk1Xpm2g49yIu5G0=:9O07K1zvMCTu8QVlkGYdzCXpu5XW823sYw7VaiTOKps=";
const CAROL: &str = "SCRAM-SHA-256$4096:Hw+N98w9Wk13mfGDdy+SOw==$o3A/ZlIV7qn7GAIaD/3ms4q8cQB15CSLa0ekilG+EII=:SEzsGVX4wBQiOvjU6AhcbDnwed4znLUKEBwPT6YZri8=";

/// RFC 7677, section 3, after the client's first message.
const RFC_CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const RFC_SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const RFC_CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const RFC_SERVER_FIRST: &[u8] =
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const RFC_CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const RFC_SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
/// The salt of that exchange, `W22ZaJ0SNY7soEsUEjb6gQ==`.
const RFC_SALT: [u8; 16] = [
    91, 109, 153, 104, 157, 18, 53, 142, 236, 160, 75, 20, 18, 54, 250, 129,
];

fn verifier(text: &str) -> Verifier {
    Verifier::parse(text).expect("a verifier")
}

/// Runs both sides against each other; the error, if any, is the server's.
fn log_in(verifier: Verifier, password: &str) -> Result<(), ScramError> {
    let mut client = ClientExchange::new("clientnonce", Channel::Absent);
    let mut server = ServerExchange::new(verifier, "servernonce", Channel::Absent);
    let server_first = server.first(&client.first())?;
    let challenge = client.challenge(&server_first).expect("our own challenge");
    let answer = client.respond(&ClientKeys::derive(password, &challenge));
    let server_final = server.finish(&answer)?;
    client.verify(&server_final).expect("our own signature");
    Ok(())
}

/// Both sides over these ends of a channel.
fn over(client: Channel, server: Channel) -> Result<(), ScramError> {
    let mut client = ClientExchange::new("c", client);
    let mut server =
        ServerExchange::new(Verifier::from_password("pencil", b"salt", 1), "s", server);
    let challenge = client
        .challenge(&server.first(&client.first())?)
        .expect("our own challenge");
    let answer = client.respond(&ClientKeys::derive("pencil", &challenge));
    server.finish(&answer).map(drop)
}

#[test]
fn what_a_client_proved_logs_in_elsewhere() {
    let stored = Verifier::from_password("pencil", b"salt", 2);
    let mut client = ClientExchange::new("c", Channel::Absent);
    let mut server = ServerExchange::new(stored.clone(), "s", Channel::Absent);
    let challenge = client
        .challenge(&server.first(&client.first()).expect("first"))
        .expect("challenge");
    assert!(stored.answers(&challenge));
    assert_eq!(server.client_keys(), None);
    let answer = client.respond(&ClientKeys::derive("pencil", &challenge));
    server.finish(&answer).expect("the right password");

    let keys = server.client_keys().expect("proven").clone();

    assert_eq!(stored.keys_of("pencil").as_ref(), Some(&keys));
    let mut onward = ClientExchange::new("c2", Channel::Absent);
    let mut elsewhere = ServerExchange::new(stored, "s2", Channel::Absent);
    onward
        .challenge(&elsewhere.first(&onward.first()).expect("first"))
        .expect("challenge");
    let last = elsewhere.finish(&onward.respond(&keys)).expect("let in");
    assert_eq!(onward.verify(&last), Ok(()));
}

#[test]
fn who_is_refused_proved_nothing() {
    let mut client = ClientExchange::new("c", Channel::Absent);
    let mut server = ServerExchange::new(
        Verifier::from_password("pencil", b"salt", 1),
        "s",
        Channel::Absent,
    );
    let challenge = client
        .challenge(&server.first(&client.first()).expect("first"))
        .expect("challenge");
    let answer = client.respond(&ClientKeys::derive("pen", &challenge));

    assert!(server.finish(&answer).is_err());
    assert_eq!(server.client_keys(), None);
}

#[test]
fn a_channel_is_bound_when_both_ends_are_of_the_same() {
    let bound = |hash: &[u8]| Channel::Bound(hash.to_vec());

    assert_eq!(over(bound(b"hash"), bound(b"hash")), Ok(()));
    assert_eq!(
        over(bound(b"another's"), bound(b"hash")),
        Err(ScramError::WrongChannel)
    );
    assert_eq!(over(Channel::Absent, Channel::Unused), Ok(()));
    assert_eq!(over(Channel::Unused, Channel::Absent), Ok(()));
}

#[test]
fn a_client_that_was_not_shown_the_offer_is_refused() {
    assert_eq!(
        over(Channel::Unused, Channel::Unused),
        Err(ScramError::Downgrade)
    );
    assert_eq!(
        ScramError::Downgrade.sqlstate(),
        helios_wire::sqlstate::INVALID_AUTHORIZATION_SPECIFICATION
    );
}

#[test]
fn a_mechanism_and_its_header_must_agree() {
    for (client, server) in [
        (Channel::Absent, Channel::Bound(b"hash".to_vec())),
        (Channel::Unused, Channel::Bound(b"hash".to_vec())),
        (Channel::Bound(b"hash".to_vec()), Channel::Absent),
        (Channel::Bound(b"hash".to_vec()), Channel::Unused),
    ] {
        assert!(matches!(
            over(client, server),
            Err(ScramError::Malformed(_))
        ));
    }
}

#[test]
fn server_follows_the_rfc() {
    let mut server = ServerExchange::new(
        Verifier::from_password("pencil", &RFC_SALT, 4096),
        RFC_SERVER_NONCE,
        Channel::Absent,
    );

    assert_eq!(
        server.first(RFC_CLIENT_FIRST).expect("server first"),
        RFC_SERVER_FIRST
    );
    assert_eq!(
        server.finish(RFC_CLIENT_FINAL).expect("server final"),
        RFC_SERVER_FINAL
    );
}

// The RFC's client sends the name "user"; ours sends none, so its proof differs and only the shape and
// the derived challenge can be compared.
#[test]
fn client_reads_the_challenge_of_the_rfc() {
    let mut client = ClientExchange::new(RFC_CLIENT_NONCE, Channel::Absent);

    assert_eq!(client.first(), b"n,,n=,r=rOprNGfwEbeRWgbNEkqO");
    let challenge = client.challenge(RFC_SERVER_FIRST).expect("challenge");
    assert_eq!(
        challenge,
        Challenge {
            salt: RFC_SALT.to_vec(),
            iterations: 4096
        }
    );
    let answer = client.respond(&ClientKeys::derive("pencil", &challenge));
    let mut server = ServerExchange::new(
        Verifier::from_password("pencil", &RFC_SALT, 4096),
        RFC_SERVER_NONCE,
        Channel::Absent,
    );
    server.first(&client.first()).expect("server first");
    assert_eq!(
        client.verify(&server.finish(&answer).expect("proof")),
        Ok(())
    );
}

#[test]
fn verifiers_of_postgresql_let_the_right_password_in() {
    for (text, password) in [
        (ALICE, "pencil"),
        (BOB, "I\u{ad}X \u{2168}"),
        (BOB, "IX IX"),
        (CAROL, "tab\there"),
    ] {
        assert_eq!(log_in(verifier(text), password), Ok(()), "{password:?}");
        assert!(verifier(text).keys_of(password).is_some());
        assert_eq!(log_in(verifier(text), "wrong"), Err(ScramError::WrongProof));
        assert_eq!(log_in(verifier(text), ""), Err(ScramError::WrongProof));
        assert!(verifier(text).keys_of("wrong").is_none());
    }
}

#[test]
fn verifier_text_is_the_same_as_postgresql_writes() {
    for text in [ALICE, BOB, CAROL] {
        assert_eq!(verifier(text).to_string(), text);
    }
    let salt = [
        0xbf, 0x14, 0x14, 0x40, 0xa5, 0x5b, 0x73, 0xf0, 0xb7, 0x74, 0xf9, 0x97, 0x22, 0xcc, 0xe9,
        0xbf,
    ];
    assert_eq!(
        Verifier::from_password("pencil", &salt, 4096).to_string(),
        ALICE
    );
}

#[test]
fn password_may_be_empty_or_no_text() {
    for password in [
        &b""[..],
        b"\xff\xfe",
        "\u{ad}".as_bytes(),
        "\u{e000}".as_bytes(),
    ] {
        let verifier = Verifier::from_password(password, b"salt", 1);
        assert!(verifier.keys_of(password).is_some());
        assert!(verifier.keys_of("other").is_none());
    }
    // A lone soft hyphen prepares to nothing; PostgreSQL then takes the bytes as they are.
    assert!(Verifier::from_password("\u{ad}", b"salt", 1)
        .keys_of("")
        .is_none());
}

#[test]
fn secrets_are_not_printed() {
    let verifier = verifier(ALICE);
    let keys = ClientKeys::derive(
        "pencil",
        &Challenge {
            salt: vec![1],
            iterations: 1,
        },
    );

    assert_eq!(format!("{verifier:?}"), "Verifier { iterations: 4096, .. }");
    assert_eq!(format!("{keys:?}"), "ClientKeys { .. }");
}

#[test]
fn mock_is_stable_per_user_and_never_matches() {
    let mock = Verifier::mock("mallory", b"secret");

    assert_eq!(mock, Verifier::mock("mallory", b"secret"));
    assert_ne!(salt_for("mallory", b"secret"), salt_for("alice", b"secret"));
    assert_ne!(
        salt_for("mallory", b"secret"),
        salt_for("mallory", b"other")
    );
    assert_eq!(log_in(mock.clone(), "pencil"), Err(ScramError::WrongProof));
    assert!(mock.keys_of("").is_none());
}

#[test]
fn mock_challenge_looks_like_a_real_one() {
    let challenge = |verifier| {
        let first = ServerExchange::new(verifier, "s", Channel::Absent)
            .first(b"n,,n=,r=c")
            .expect("challenge");
        String::from_utf8(first)
            .expect("text")
            .split(',')
            .map(str::len)
            .collect::<Vec<_>>()
    };

    assert_eq!(
        challenge(Verifier::mock("mallory", b"secret")),
        challenge(verifier(ALICE))
    );
}

#[test]
fn broken_verifiers_are_refused() {
    for end in 0..ALICE.len() {
        assert_eq!(Verifier::parse(&ALICE[..end]), None, "{end}");
    }
    for text in [
        ALICE.replace("4096", "0"),
        ALICE.replace("4096", "-1"),
        ALICE.replace("4096", "+1"),
        ALICE.replace("4096", ""),
        ALICE.replace("4096", "10000001"),
        ALICE.replace("4096", "99999999999999999999"),
        ALICE.replace("vxQUQKVbc/C3dPmXIszpvw==", ""),
        ALICE.replace("SHA-256", "SHA-1"),
        format!("{ALICE}="),
        format!("{ALICE}:"),
    ] {
        assert_eq!(Verifier::parse(&text), None, "{text}");
    }
}
