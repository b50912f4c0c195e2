//! Startup packets: what clients send, what PostgreSQL refuses, and what we send to servers.

use helios_wire::startup::{
    build, build_cancel, negotiate, packet_len, parse, Replication, Startup, StartupError,
    StartupParams, MAX_STARTUP_LEN,
};

fn body(minor: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3];
    body.extend(minor.to_be_bytes());
    for (name, value) in pairs {
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    body
}

fn start(pairs: &[(&str, &str)]) -> StartupParams {
    match parse(&body(0, pairs)) {
        Ok(Startup::Start(params)) => params,
        other => panic!("not a startup: {other:?}"),
    }
}

fn refused(body: &[u8]) -> StartupError {
    parse(body).expect_err("must be refused")
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn packet_len_counts_itself_and_stays_within_bounds() {
    let of = |len: u32| packet_len(len.to_be_bytes());

    assert_eq!(of(8), Ok(8));
    assert_eq!(of(10_000), Ok(MAX_STARTUP_LEN));
    for bad in [0, 4, 7, 10_001, 0x1603_0100, u32::MAX] {
        assert_eq!(of(bad), Err(StartupError::Length), "{bad}");
    }
}

#[test]
fn user_is_also_the_database_unless_one_is_given() {
    assert_eq!(start(&[("user", "alice")]).database, "alice");
    assert_eq!(
        start(&[("user", "alice"), ("database", "")]).database,
        "alice"
    );
    assert_eq!(
        start(&[("user", "alice"), ("database", "shop")]).database,
        "shop"
    );
}

#[test]
fn settings_keep_their_order_and_the_last_of_a_name_wins() {
    let params = start(&[
        ("application_name", "first"),
        ("user", "alice"),
        ("search_path", "a, b"),
        ("Application_Name", "second"),
        ("extra_float_digits", "3"),
        ("user", "bob"),
    ]);

    assert_eq!(params.user, "bob");
    assert_eq!(
        params.parameters,
        settings(&[
            ("search_path", "a, b"),
            ("Application_Name", "second"),
            ("extra_float_digits", "3")
        ])
    );
}

// PostgreSQL 15: `psql "options='-c application_name=a' application_name=b"` shows b.
#[test]
fn own_parameters_win_over_options() {
    let params = start(&[
        ("user", "alice"),
        ("application_name", "direct"),
        ("options", "-c application_name=options -c work_mem=5MB"),
    ]);

    assert_eq!(
        params.parameters,
        settings(&[("work_mem", "5MB"), ("application_name", "direct")])
    );
}

#[test]
fn options_cannot_change_who_logs_in_or_how() {
    for name in ["user", "database", "replication", "options", "_pq_.x"] {
        let options = format!("-c {name}=postgres");

        let error = refused(&body(0, &[("user", "alice"), ("options", &options)]));

        assert_eq!(error.sqlstate(), "42704");
        assert_eq!(
            error.message(),
            format!("unrecognized configuration parameter \"{name}\"")
        );
    }
}

#[test]
fn protocol_options_are_no_settings() {
    let params = start(&[("user", "alice"), ("_pq_.compress", "on"), ("_pq_.x", "1")]);

    assert_eq!(params.protocol_options, ["_pq_.compress", "_pq_.x"]);
    assert!(params.parameters.is_empty());
}

#[test]
fn replication_takes_database_or_a_boolean() {
    let mode = |value| start(&[("user", "alice"), ("replication", value)]).replication;

    assert_eq!(mode("database"), Some(Replication::Logical));
    for yes in ["true", "t", "TRUE", "on", "yes", "y", "1"] {
        assert_eq!(mode(yes), Some(Replication::Physical), "{yes}");
    }
    for no in ["false", "f", "off", "of", "no", "0"] {
        assert_eq!(mode(no), None, "{no}");
    }
    for bad in ["o", "", "Database", "2"] {
        let error = refused(&body(0, &[("user", "alice"), ("replication", bad)]));
        assert_eq!(error.sqlstate(), "22023");
        assert_eq!(
            error.message(),
            format!("invalid value for parameter \"replication\": \"{bad}\"")
        );
        assert!(error.hint().is_some());
    }
}

#[test]
fn any_minor_version_of_three_is_read() {
    for minor in [0, 1, 2, 3, 9999, u16::MAX] {
        let Ok(Startup::Start(params)) = parse(&body(minor, &[("user", "alice")])) else {
            panic!("3.{minor} must be accepted");
        };
        assert_eq!((params.major, params.minor), (3, minor));
    }
}

#[test]
fn other_major_versions_are_refused_as_postgresql_does() {
    let error = refused(&[0, 2, 0, 0, 0]);

    assert_eq!(error.sqlstate(), "0A000");
    assert_eq!(
        error.message(),
        "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"
    );
}

#[test]
fn missing_user_is_refused_as_postgresql_does() {
    for pairs in [&[][..], &[("database", "shop")], &[("user", "")]] {
        let error = refused(&body(0, pairs));

        assert_eq!(error.sqlstate(), "28000");
        assert_eq!(
            error.message(),
            "no PostgreSQL user name specified in startup packet"
        );
    }
}

#[test]
fn layout_must_be_pairs_and_one_terminator_at_the_end() {
    let layouts: [&[u8]; 8] = [
        b"",
        b"user",
        b"user\0",
        b"user\0alice",
        b"user\0alice\0",
        b"user\0alice\0\0\0",
        b"user\0alice\0\0database\0shop\0\0",
        b"user\0alice\0database\0\0",
    ];
    for layout in layouts {
        let error = refused(&[&[0, 3, 0, 0], layout].concat());

        assert_eq!(error.sqlstate(), "08P01", "{layout:?}");
        assert_eq!(
            error.message(),
            "invalid startup packet layout: expected terminator as last byte"
        );
        assert!(error.is_for_client());
    }
}

#[test]
fn text_must_be_utf8() {
    let error = refused(b"\0\x03\0\0user\0al\xe9ce\0\0");

    assert_eq!(error.sqlstate(), "22021");
    assert_eq!(
        error.message(),
        "invalid byte sequence for encoding \"UTF8\": 0xe9"
    );
}

#[test]
fn encryption_requests_carry_nothing_else() {
    assert_eq!(parse(&80_877_103_u32.to_be_bytes()), Ok(Startup::Ssl));
    assert_eq!(parse(&80_877_104_u32.to_be_bytes()), Ok(Startup::GssEnc));
    assert_eq!(refused(&[4, 210, 22, 47, 0]), StartupError::Length);
    assert!(!StartupError::Length.is_for_client());
}

#[test]
fn cancel_keys_have_four_to_256_bytes() {
    for len in [4, 8, 32, 256] {
        let key = vec![7; len];
        let packet = build_cancel(0xdead_beef, &key);
        assert_eq!(
            packet_len([packet[0], packet[1], packet[2], packet[3]]),
            Ok(packet.len())
        );
        assert_eq!(
            parse(&packet[4..]),
            Ok(Startup::Cancel {
                pid: 0xdead_beef,
                key
            })
        );
    }
    for len in [0, 3, 257] {
        assert_eq!(
            refused(&build_cancel(1, &vec![7; len])[4..]),
            StartupError::Length,
            "{len}"
        );
    }
    assert_eq!(
        build_cancel(1, &[0, 0, 0, 2]),
        [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2]
    );
}

#[test]
fn negotiation_is_sent_only_for_something_unknown() {
    let options = ["_pq_.x".to_owned()];

    assert_eq!(negotiate(0, &[]), None);
    assert_eq!(negotiate(2, &[]), None);
    assert_eq!(
        negotiate(9999, &[]).as_deref(),
        Some(&b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"[..])
    );
    assert_eq!(
        negotiate(0, &options).as_deref(),
        Some(&b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0"[..])
    );
    assert_eq!(
        negotiate(9999, &options).as_deref(),
        Some(&b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0"[..])
    );
}

#[test]
fn build_writes_what_parse_reads() {
    let packet = build(
        "alice",
        "shop",
        &[("application_name", "helios"), ("search_path", "a")],
    );

    assert_eq!(
        packet_len([packet[0], packet[1], packet[2], packet[3]]),
        Ok(packet.len())
    );
    let Ok(Startup::Start(params)) = parse(&packet[4..]) else {
        panic!("must parse")
    };
    assert_eq!(
        (params.minor, params.user.as_str(), params.database.as_str()),
        (0, "alice", "shop")
    );
    assert_eq!(
        params.parameters,
        settings(&[("application_name", "helios"), ("search_path", "a")])
    );
}

#[test]
fn build_lets_no_parameter_or_zero_byte_change_the_identity() {
    let packet = build(
        "alice",
        "shop",
        &[
            ("user", "postgres"),
            ("database", "x"),
            ("a", "1\0user\0postgres"),
            ("", "b"),
        ],
    );

    let Ok(Startup::Start(params)) = parse(&packet[4..]) else {
        panic!("must parse")
    };
    assert_eq!(
        (params.user.as_str(), params.database.as_str()),
        ("alice", "shop")
    );
    assert_eq!(
        params.parameters,
        settings(&[("a", "1\u{FFFD}user\u{FFFD}postgres")])
    );
}

#[test]
fn broken_packets_never_panic() {
    let options = "-c a=b --c-d=e\\ f -cg=h";
    let valid = [
        body(
            0,
            &[
                ("user", "alice"),
                ("database", "shop"),
                ("options", options),
                ("_pq_.x", "1"),
            ],
        ),
        body(
            2,
            &[
                ("user", "é"),
                ("replication", "database"),
                ("a", "1"),
                ("A", "2"),
            ],
        ),
        build_cancel(1, &[9; 32])[4..].to_vec(),
        80_877_103_u32.to_be_bytes().to_vec(),
    ];
    for packet in &valid {
        assert!(parse(packet).is_ok());
        for end in 0..packet.len() {
            assert!(
                parse(&packet[..end]).is_err() || end >= 12,
                "a cut startup is refused"
            );
        }
        let mut mutated = packet.clone();
        for at in 0..packet.len() {
            for byte in 0..=u8::MAX {
                mutated[at] = byte;
                if let Err(error) = parse(&mutated) {
                    assert_eq!(error.sqlstate().len(), 5);
                    assert!(!error.message().is_empty());
                }
            }
            mutated[at] = packet[at];
        }
    }
    assert_eq!(refused(&vec![0; MAX_STARTUP_LEN + 1]), StartupError::Length);
}

// The packet is read before the client is known, so it must not cost quadratic time.
#[test]
fn a_full_packet_of_tiny_settings_is_read() {
    let names: Vec<String> = (0..1500).map(|n| format!("s{n}")).collect();
    let mut pairs = vec![("user", "u")];
    pairs.extend(names.iter().map(|name| (name.as_str(), "")));

    let params = start(&pairs);

    assert_eq!(params.parameters.len(), 1500);
}
