//! `pg_hba.conf`: what each record means, which comes first, and what is refused with its line.

use std::net::IpAddr;

use helios_wire::hba::{CertificateName, ClientCertificate, Hba, Method, Origin, Visitor};

fn hba(text: &str) -> Hba {
    Hba::parse(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn visitor(address: &str) -> Visitor<'_> {
    Visitor {
        is_encrypted: false,
        origin: Origin::Network {
            address: address.parse().expect("an address"),
            own_address: "10.9.9.9".parse().expect("an address"),
        },
        database: "app",
        user: "alice",
        is_replication: false,
    }
}

fn method(text: &str, visitor: &Visitor<'_>) -> Option<Method> {
    hba(text).find(visitor).map(|record| record.method)
}

fn fault(text: &str) -> String {
    let errors = Hba::parse(text).expect_err("refused");
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn the_first_record_that_fits_decides() {
    let text = "host app bob all trust\nhost app alice 10.0.0.0/8 reject\nhost all all all md5\n";

    assert_eq!(method(text, &visitor("10.1.2.3")), Some(Method::Reject));
    assert_eq!(method(text, &visitor("192.168.0.1")), Some(Method::Md5));
    assert_eq!(method("host app bob all trust", &visitor("10.1.2.3")), None);
}

#[test]
fn what_initdb_writes_is_read() {
    let text = "# TYPE  DATABASE        USER            ADDRESS                 METHOD\n\n\
        local   all             all                                     peer\n\
        host    all             all             127.0.0.1/32            scram-sha-256\n\
        host    all             all             ::1/128                 scram-sha-256\n\
        local   replication     all                                     peer\n\
        host    replication     all             127.0.0.1/32            trust\n";
    let physical = Visitor {
        is_replication: true,
        ..visitor("127.0.0.1")
    };

    assert_eq!(
        method(text, &visitor("127.0.0.1")),
        Some(Method::ScramSha256)
    );
    assert_eq!(
        method(text, &visitor("::ffff:127.0.0.1")),
        Some(Method::ScramSha256)
    );
    assert_eq!(method(text, &visitor("::1")), Some(Method::ScramSha256));
    assert_eq!(method(text, &physical), Some(Method::Trust));
    assert_eq!(method(text, &visitor("127.0.0.2")), None);
}

#[test]
fn addresses() {
    for (address, fits, not) in [
        ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
        ("10.1.0.0 255.255.0.0", "10.1.255.255", "10.2.0.0"),
        ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ("::/0", "2001:db8::1", "203.0.113.9"),
        ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
        ("samehost", "10.9.9.9", "10.9.9.8"),
        ("samehost", "127.0.0.1", "10.9.9.8"),
    ] {
        let text = format!("host all all {address} trust");
        assert_eq!(
            method(&text, &visitor(fits)),
            Some(Method::Trust),
            "{address}"
        );
        assert_eq!(method(&text, &visitor(not)), None, "{address}");
    }
}

#[test]
fn encryption() {
    let text = "hostssl all all all cert\nhostnossl all all all reject\n";
    let tls = Visitor {
        is_encrypted: true,
        ..visitor("10.0.0.1")
    };

    assert_eq!(method(text, &tls), Some(Method::Cert));
    assert_eq!(method(text, &visitor("10.0.0.1")), Some(Method::Reject));
}

#[test]
fn names_lists_quotes_and_patterns() {
    let fits = |database: &str, users: &str| {
        let text = format!("host {database} {users} all trust");
        method(&text, &visitor("10.0.0.1")).is_some()
    };

    assert!(fits("other,app", "bob, alice"));
    assert!(fits("\"app\"", "\"alice\""));
    assert!(fits("/^a.p$", "/lic"));
    assert!(!fits("\"all\"", "all"));
    assert!(!fits("\"/^a.p$\"", "all"));
    assert!(!fits("sameuser", "all"));
    assert!(!fits("replication", "all"));
    assert!(!fits("APP", "all"));
    let quoted = hba("host \"a \"\"b\"\" #,c\" all all trust # and more");
    let odd = Visitor {
        database: "a \"b\" #,c",
        ..visitor("10.0.0.1")
    };
    assert!(quoted.find(&odd).is_some());
    let same = Visitor {
        database: "alice",
        ..visitor("10.0.0.1")
    };
    assert!(hba("host sameuser all all trust").find(&same).is_some());
}

#[test]
fn options_of_certificates() {
    let hba = hba("hostssl all all all cert map=people clientname=DN\n\
         hostssl all all all scram-sha-256 clientcert=verify-ca\n\
         hostssl all all \\\n  all md5 clientcert=verify-full\nhost all all all trust");
    let records = hba.records();

    assert_eq!(records[0].map.as_deref(), Some("people"));
    assert_eq!(records[0].client_name, CertificateName::Dn);
    let wanted: Vec<_> = records
        .iter()
        .map(|record| record.client_certificate)
        .collect();
    let (ca, full) = (ClientCertificate::VerifyCa, ClientCertificate::VerifyFull);
    assert_eq!(wanted, [full, ca, full, ClientCertificate::Any]);
    let lines: Vec<_> = records.iter().map(|record| record.line).collect();
    assert_eq!(lines, [1, 2, 3, 5]);
}

#[test]
fn every_faulty_line_is_named() {
    for (line, why) in [
        ("hostgssenc all all all trust", "GSSAPI"),
        (
            "hosts all all all trust",
            "invalid connection type \"hosts\"",
        ),
        ("host,hostssl all all all trust", "multiple values"),
        ("host", "end-of-line before database specification"),
        ("host all", "end-of-line before role specification"),
        (
            "host all all",
            "end-of-line before IP address specification",
        ),
        (
            "host all all all",
            "end-of-line before authentication method",
        ),
        ("host all all 10.0.0.1 trust", "invalid IP mask \"trust\""),
        ("host all all 10.0.0.1 ::1 trust", "invalid IP mask"),
        ("host all all 10.0.0.1/33 trust", "invalid CIDR mask"),
        ("host all all ::1/129 trust", "invalid CIDR mask"),
        ("host all all 10.0.0.1/+8 trust", "invalid CIDR mask"),
        (
            "host all all db.example trust",
            "names of hosts are not looked up",
        ),
        ("host all all samenet trust", "samenet"),
        ("host all +staff all trust", "member of which role"),
        ("host samerole all all trust", "member of which role"),
        ("host @list all all trust", "other files are not read"),
        ("include more.conf", "other files are not read"),
        (
            "host all all all ldap ldapserver=x",
            "\"ldap\" is not supported by Helios",
        ),
        (
            "host all all all peer",
            "peer authentication is only supported on local sockets",
        ),
        (
            "host all all all mystery",
            "invalid authentication method \"mystery\"",
        ),
        (
            "local all all mystery",
            "invalid authentication method \"mystery\"",
        ),
        ("local all all pam", "\"pam\" is not supported by Helios"),
        ("local all all cert", "only supported on hostssl"),
        ("local all all peer clientcert=verify-ca", "hostssl"),
        ("host all all all cert", "only supported on hostssl"),
        ("host all all all md5 clientcert=verify-ca", "hostssl"),
        (
            "hostssl all all all md5 clientcert=1",
            "invalid value for clientcert",
        ),
        (
            "hostssl all all all cert clientcert=verify-ca",
            "verify-full",
        ),
        ("host all all all trust loud", "not in name=value format"),
        (
            "host all all all trust a=b",
            "unrecognized authentication option",
        ),
        ("host /( all all trust", "invalid regular expression"),
    ] {
        let told = fault(&format!("# first\nhost all all all trust\n{line}\n"));
        assert!(
            told.starts_with("line 3: ") && told.contains(why),
            "{line}: {told}"
        );
    }
    assert_eq!(fault("# nothing\n"), "contains no entries");
    assert_eq!(
        fault("x\nhost all all all trust\ny\n")
            .matches("line ")
            .count(),
        2
    );
}

#[test]
fn local_records_are_for_unix_sockets_and_no_others() {
    let text = "host all all all trust\nlocal app alice peer map=people\nlocal all all ident\n";
    let local = Visitor {
        origin: Origin::Local,
        ..visitor("127.0.0.1")
    };
    let other = Visitor {
        database: "other",
        ..local
    };
    let hba = hba(text);

    let found = hba.find(&local).expect("a record");
    assert_eq!((found.line, found.method), (2, Method::Peer));
    assert_eq!(found.map.as_deref(), Some("people"));
    assert_eq!(method(text, &other), Some(Method::Peer));
    assert_eq!(method("local all all trust", &visitor("127.0.0.1")), None);
    assert_eq!(method("host all all all trust", &local), None);
}

#[test]
fn a_mapped_address_is_an_ipv4_one() {
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");

    assert!(hba("host all all 10.0.0.0/8 trust")
        .find(&visitor(&mapped.to_string()))
        .is_some());
}
