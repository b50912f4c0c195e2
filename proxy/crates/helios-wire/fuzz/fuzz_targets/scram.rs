//! SCRAM with a hostile peer on either side, and verifiers of any text. Nothing but the right exchange
//! may log in. The first byte chooses which step the rest is fed to.
#![no_main]

use std::sync::LazyLock;

use helios_wire::scram::{Challenge, Channel, ClientExchange, ClientKeys, ServerExchange, Verifier};
use libfuzzer_sys::fuzz_target;

/// One iteration, so that a run is not spent on hashing.
static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::from_password("pencil", b"salt", 1));
static KEYS: LazyLock<ClientKeys> = LazyLock::new(|| {
    ClientKeys::derive(
        "pencil",
        &Challenge {
            salt: b"salt".to_vec(),
            iterations: 1,
        },
    )
});

fuzz_target!(|data: &[u8]| {
    let Some((step, message)) = data.split_first() else {
        return;
    };
    match step % 5 {
        0 => client_first(message),
        1 => client_final(message),
        2 => server_first(message),
        3 => server_final(message),
        _ => verifier(message),
    }
});

fn server(channel: Channel) -> ServerExchange {
    ServerExchange::new(VERIFIER.clone(), "server", channel)
}

fn client_first(message: &[u8]) {
    for channel in [Channel::Absent, Channel::Unused, Channel::Bound(b"hash".to_vec())] {
        client_first_over(channel, message);
    }
}

fn client_first_over(channel: Channel, message: &[u8]) {
    let mut server = server(channel);
    if let Ok(answer) = server.first(message) {
        // A challenge we send must be one a client of ours can read, unless its nonce is not the same.
        let _ = ClientExchange::new("client", Channel::Absent).challenge(&answer);
        assert!(server.finish(message).is_err());
    }
}

fn client_final(message: &[u8]) {
    let mut server = server(Channel::Absent);
    server.first(b"n,,n=,r=client").expect("a valid message");
    assert!(
        server.finish(message).is_err(),
        "logged in without the password"
    );
}

fn server_first(message: &[u8]) {
    let mut client = ClientExchange::new("client", Channel::Absent);
    if let Ok(challenge) = client.challenge(message) {
        assert!(!challenge.salt.is_empty() && challenge.iterations > 0);
        let _ = client.respond(&KEYS);
        assert!(client.verify(message).is_err());
    }
}

fn server_final(message: &[u8]) {
    let mut client = ClientExchange::new("client", Channel::Absent);
    client
        .challenge(b"r=clientserver,s=c2FsdA==,i=1")
        .expect("a valid message");
    let _ = client.respond(&KEYS);
    assert!(
        client.verify(message).is_err(),
        "believed a server without the password"
    );
}

fn verifier(text: &[u8]) {
    let Some(verifier) = std::str::from_utf8(text).ok().and_then(Verifier::parse) else {
        return;
    };
    assert_eq!(Verifier::parse(&verifier.to_string()), Some(verifier));
}
