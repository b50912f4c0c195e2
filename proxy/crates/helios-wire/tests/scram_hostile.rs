//! SCRAM-SHA-256 against peers that break the rules: both clients and servers.

use helios_wire::scram::{
    Challenge, Channel, ClientExchange, ClientKeys, ScramError, ServerExchange, Verifier,
    MAX_CLIENT_MESSAGE_LEN, MAX_SERVER_MESSAGE_LEN,
};

/// Made by PostgreSQL 15 for the password `pencil`.
const ALICE: &str = "SCRAM-SHA-256$4096:vxQUQKVbc/C3dPmXIszpvw==$DWVZU+BszNI+IsDtkZPrI/BwXJA1LKTpQrnGcM5ewlQ=:cp+3l30qVKFqadQaiRmlIRuIUfPLwFYtvfRzwvieACU=";

fn verifier(text: &str) -> Verifier {
    Verifier::parse(text).expect("a verifier")
}

/// A client that has answered the challenge, waiting for the server's signature.
fn answered(password: &str) -> ClientExchange {
    let mut client = ClientExchange::new("c", Channel::Absent);
    let challenge = client.challenge(b"r=cs,s=AAAA,i=1").expect("a challenge");
    client.respond(&ClientKeys::derive(password, &challenge));
    client
}

#[test]
fn server_accepts_clients_that_could_bind_channels() {
    let mut server = ServerExchange::new(verifier(ALICE), "s", Channel::Absent);
    server
        .first(b"y,,n=,r=c")
        .expect("y is fine while binding is not offered");

    assert_eq!(
        server.finish(b"c=biws,r=cs,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        Err(ScramError::Malformed("unexpected channel binding"))
    );
    let mut server = ServerExchange::new(verifier(ALICE), "s", Channel::Absent);
    server.first(b"y,,n=,r=c").expect("first");
    let right = server.finish(b"c=eSws,r=cs,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_eq!(right, Err(ScramError::WrongProof));
}

#[test]
fn server_refuses_what_it_cannot_do() {
    let first = |message: &[u8]| {
        ServerExchange::new(verifier(ALICE), "s", Channel::Absent)
            .first(message)
            .expect_err("refused")
    };

    assert_eq!(
        first(b"p=tls-server-end-point,,n=,r=c").sqlstate(),
        helios_wire::sqlstate::PROTOCOL_VIOLATION
    );
    assert_eq!(
        first(b"n,a=alice,n=,r=c"),
        ScramError::Unsupported("an authorization identity")
    );
    assert_eq!(
        first(b"n,,m=x,n=,r=c"),
        ScramError::Unsupported("a SCRAM extension")
    );
}

#[test]
fn server_refuses_broken_first_messages() {
    let cases: [&[u8]; 14] = [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"n,,r=c",
        b"n,,n=",
        b"n,,n=,r=",
        b"n,,n=,r=\xff",
        b"n,,n=,r=a b",
        b"n,,n=,r=c\0",
        b"x,,n=,r=c",
        b"n,x,n=,r=c",
        b"n,,n=,r=c,",
        b"n,,n=,r=c,=x",
    ];
    for message in cases {
        let error = ServerExchange::new(verifier(ALICE), "s", Channel::Absent)
            .first(message)
            .expect_err("refused");
        assert_eq!(error.sqlstate(), "08P01", "{message:?}");
    }
    let long = [b"n,,n=,r=".to_vec(), vec![b'c'; MAX_CLIENT_MESSAGE_LEN]].concat();
    assert_eq!(
        ServerExchange::new(verifier(ALICE), "s", Channel::Absent).first(&long),
        Err(ScramError::Limit("message length"))
    );
}

#[test]
fn server_tells_a_wrong_proof_from_a_broken_message() {
    let finish = |message: &[u8]| {
        let mut server = ServerExchange::new(verifier(ALICE), "s", Channel::Absent);
        server.first(b"n,,n=,r=c").expect("first");
        server.finish(message).expect_err("refused")
    };
    let proof = "p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    assert_eq!(
        finish(format!("c=biws,r=cs,{proof}").as_bytes()),
        ScramError::WrongProof
    );
    assert_eq!(
        finish(format!("c=biws,r=cs,x=1,{proof}").as_bytes()),
        ScramError::WrongProof
    );
    assert_eq!(
        finish(format!("c=biws,r=cx,{proof}").as_bytes()),
        ScramError::NonceMismatch
    );
    for broken in [
        String::new(),
        proof.to_owned(),
        "c=biws,r=cs".to_owned(),
        "c=biws,r=cs,p=".to_owned(),
        "c=biws,r=cs,p=AAAA".to_owned(),
        format!("c=biws,r=cs,{proof},x=1"),
        format!("c=biws,r=cs,{proof},{proof}"),
        format!("r=cs,c=biws,{proof}"),
        format!("c=,r=cs,{proof}"),
    ] {
        assert!(
            matches!(finish(broken.as_bytes()), ScramError::Malformed(_)),
            "{broken}"
        );
    }
}

#[test]
fn steps_out_of_order_are_refused() {
    let mut server = ServerExchange::new(verifier(ALICE), "s", Channel::Absent);
    assert_eq!(
        server.finish(b"c=biws,r=cs,p=AAAA"),
        Err(ScramError::OutOfOrder)
    );
    assert_eq!(
        server.first(b"n,,n=,r=c"),
        Err(ScramError::OutOfOrder),
        "an error ends the exchange"
    );

    let mut server = ServerExchange::new(verifier(ALICE), "s", Channel::Absent);
    assert_eq!(
        server.first(b"n,,n=,r=c"),
        Ok(b"r=cs,s=vxQUQKVbc/C3dPmXIszpvw==,i=4096".to_vec())
    );
    assert_eq!(server.first(b"n,,n=,r=c"), Err(ScramError::OutOfOrder));
    assert_eq!(
        server.finish(b"c=biws,r=cs,p=AAAA"),
        Err(ScramError::OutOfOrder)
    );

    let mut client = ClientExchange::new("c", Channel::Absent);
    client.respond(&ClientKeys::derive(
        "pencil",
        &Challenge {
            salt: vec![1],
            iterations: 1,
        },
    ));
    assert_eq!(client.verify(b"v=AAAA"), Err(ScramError::OutOfOrder));
    client.challenge(b"r=cs,s=AAAA,i=1").expect("challenge");
    assert_eq!(client.verify(b"v=AAAA"), Err(ScramError::OutOfOrder));
    assert_eq!(
        client.challenge(b"r=cs,s=AAAA,i=1"),
        Err(ScramError::OutOfOrder)
    );
}

#[test]
fn client_refuses_a_malicious_challenge() {
    let challenge = |message: &[u8]| {
        ClientExchange::new("c", Channel::Absent)
            .challenge(message)
            .expect_err("refused")
    };
    let nonce = format!("r=c{},s=AAAA,i=1", "s".repeat(2000));
    let salt = format!("r=cs,s={},i=1", "AAAA".repeat(700));

    assert_eq!(
        challenge(b"r=cs,s=AAAA,i=10000001"),
        ScramError::Limit("iteration count")
    );
    assert_eq!(
        challenge(b"r=cs,s=AAAA,i=0"),
        ScramError::Limit("iteration count")
    );
    assert_eq!(
        challenge(b"r=cs,s=AAAA,i=99999999999999999999"),
        ScramError::Limit("iteration count")
    );
    assert_eq!(
        challenge(nonce.as_bytes()),
        ScramError::Limit("nonce length")
    );
    assert!(matches!(
        challenge(salt.as_bytes()),
        ScramError::Malformed(_)
    ));
    assert_eq!(
        challenge(&vec![b'r'; MAX_SERVER_MESSAGE_LEN + 1]),
        ScramError::Limit("message length")
    );
    assert_eq!(challenge(b"r=c,s=AAAA,i=1"), ScramError::NonceMismatch);
    assert_eq!(challenge(b"r=xs,s=AAAA,i=1"), ScramError::NonceMismatch);
    assert_eq!(
        challenge(b"m=x,r=cs,s=AAAA,i=1"),
        ScramError::Unsupported("a SCRAM extension")
    );
    assert_eq!(
        challenge(b"e=other-error\x1b[31m"),
        ScramError::Refused("other-error[31m".to_owned())
    );
    assert!(ClientExchange::new("c", Channel::Absent)
        .challenge(b"r=cs,s=AAAA,i=10000000,x=1")
        .is_ok());
}

#[test]
fn client_refuses_a_server_that_does_not_know_the_password() {
    let client = answered("pencil");

    let wrong = client.verify(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_eq!(wrong, Err(ScramError::WrongServerSignature));
    assert_eq!(
        client.verify(b"e=invalid-proof"),
        Err(ScramError::Refused("invalid-proof".to_owned()))
    );
    for broken in [&b""[..], b"v", b"v=", b"v=AAAA", b"x=1", b"\xff"] {
        assert!(
            matches!(client.verify(broken), Err(ScramError::Malformed(_))),
            "{broken:?}"
        );
    }
}

/// Every prefix and every message with one byte changed.
fn broken(valid: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let prefixes = (0..valid.len()).map(|end| valid[..end].to_vec());
    let mutations = (0..valid.len()).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte)));
    prefixes.chain(
        mutations
            .filter(|(at, byte)| valid[*at] != *byte)
            .map(|(at, byte)| {
                let mut mutated = valid.to_vec();
                mutated[at] = byte;
                mutated
            }),
    )
}

#[test]
fn broken_messages_never_panic_and_never_log_in() {
    let real = Verifier::from_password("pencil", b"salt", 1);
    let server = || ServerExchange::new(real.clone(), "s", Channel::Absent);
    let mut client = ClientExchange::new("c", Channel::Absent);
    let first = client.first();
    let server_first = server().first(&first).expect("first");
    let keys = ClientKeys::derive(
        "pencil",
        &client.challenge(&server_first).expect("challenge"),
    );
    let answer = client.respond(&keys);

    for message in broken(&first) {
        let mut server = server();
        if server.first(&message).is_ok() {
            assert!(server.finish(&answer).is_err(), "{message:?}");
        }
    }
    for message in broken(&server_first) {
        let mut client = ClientExchange::new("c", Channel::Absent);
        if client.challenge(&message).is_ok() {
            let mut server = server();
            server.first(&client.first()).expect("first");
            assert!(
                server.finish(&client.respond(&keys)).is_err(),
                "{message:?}"
            );
        }
    }
    for message in broken(&answer) {
        let mut server = server();
        server.first(&first).expect("first");
        assert!(server.finish(&message).is_err(), "{message:?}");
    }
    let mut right = server();
    right.first(&first).expect("first");
    let server_final = right.finish(&answer).expect("right");
    for message in broken(&server_final) {
        assert!(client.verify(&message).is_err(), "{message:?}");
    }
    assert_eq!(client.verify(&server_final), Ok(()));
}
