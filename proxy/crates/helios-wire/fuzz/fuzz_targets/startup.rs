//! The first packet of a connection. One that is accepted keeps its identity when sent on to a server.
#![no_main]

use helios_wire::peer;
use helios_wire::startup::{
    build, build_cancel, negotiate, packet_len, parse, Startup, StartupParams, MAX_STARTUP_LEN,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(first) = data.first_chunk::<4>() {
        let _ = packet_len(*first);
    }
    if let Some((pid, proofs)) = peer::read_claim(data) {
        assert_eq!(&peer::claim(pid, &proofs)[4..], data);
    }
    match parse(data) {
        Ok(Startup::Start(params)) => send_on(&params),
        Ok(Startup::Cancel { pid, key }) => assert_eq!(&build_cancel(pid, &key)[4..], data),
        Ok(Startup::Ssl | Startup::GssEnc | Startup::Peer) => assert_eq!(data.len(), 4),
        Err(error) => {
            assert_eq!(error.sqlstate().len(), 5);
            assert!(!error.message().is_empty());
        }
    }
});

fn send_on(params: &StartupParams) {
    assert!(!params.user.is_empty() && !params.database.is_empty());
    if let Some(answer) = negotiate(params.minor, &params.protocol_options) {
        let length = u32::from_be_bytes([answer[1], answer[2], answer[3], answer[4]]);
        assert_eq!(length as usize + 1, answer.len());
    }
    let parameters: Vec<(&str, &str)> = params
        .parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let packet = build(&params.user, &params.database, &parameters);
    if packet.len() > MAX_STARTUP_LEN {
        return; // the database name, left out by the client, is written out by us
    }
    let again = match parse(&packet[4..]) {
        Ok(Startup::Start(again)) => again,
        other => panic!("our own packet was read as {other:?}"),
    };
    assert_eq!(
        (&again.user, &again.database),
        (&params.user, &params.database)
    );
    assert_eq!(again.parameters, params.parameters);
    assert_eq!(again.replication, None);
}
