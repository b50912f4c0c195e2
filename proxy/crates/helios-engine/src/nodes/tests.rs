use super::*;
use crate::config::{CircuitBreaker, Consistency, ReadStrategy};
use crate::topology::Topology;

const RULES: CircuitBreaker = CircuitBreaker {
    enabled: true,
    failure_threshold: 1,
    reset_timeout_ms: 1000,
    success_threshold: 1,
    half_open_requests: 2,
    slow_start_ms: 0,
    outlier_latency_factor: 0,
    outlier_error_percent: 0,
};

fn routing() -> Routing {
    Routing {
        read_strategy: ReadStrategy::RoundRobin,
        consistency: Consistency::Bounded,
        max_lag_ms: 1000,
        max_lag_bytes: 0,
        catch_up_after: 0,
        catch_up_ms: 0,
        optimistic: false,
        write_mode: None,
        zone: None,
        targets: HashMap::new(),
    }
}

/// A primary and three standbys, all level, in the zones a, a and b.
fn cluster() -> Arc<ClusterTopology> {
    let nodes = Nodes::default();
    let node = |name: &str, zone: &str| {
        serde_json::json!({
            "name": name, "host": name, "port": 5432, "addresses": [], "healthy": true,
            "standby": name != "primary", "fenced": false, "weight": 100, "zone": zone,
        })
    };
    let all = [
        node("primary", "a"),
        node("one", "a"),
        node("two", "a"),
        node("three", "b"),
    ];
    let document = serde_json::json!({
        "clusters": [{"name": "main", "primary": "primary", "reason": null, "synchronous": false, "nodes": all, "promotions": []}],
    });
    let topology = Topology::parse(document.to_string().as_bytes(), &nodes).unwrap();
    let cluster = Arc::clone(&topology.clusters[0]);
    for node in &cluster.nodes {
        set(node, 0.0, 100);
    }
    cluster
}

fn set(node: &NodeTopology, lag_ms: f64, position: Lsn) {
    let told = Position {
        cluster: "main".to_owned(),
        name: node.name.clone(),
        position,
        lag_ms: Some(lag_ms),
        lag_bytes: Some(0),
    };
    node.standing.set_position(&told);
}

fn wish(routing: &Routing, need: Option<Need>) -> Wish<'static> {
    Wish {
        freshness: routing.freshness(),
        meant: Meant::Anyone,
        need,
        kept: None,
    }
}

/// The places that some turns choose, sorted.
fn chosen(cluster: &ClusterTopology, routing: &Routing, floor: Lsn) -> Vec<usize> {
    let need = Need {
        floor,
        ..Need::default()
    };
    let choice = || choose(cluster, routing, wish(routing, Some(need)));
    let mut places: Vec<_> = (0..30).filter_map(|_| Some(choice()?.0)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn reads_go_to_standbys_that_are_not_too_far_behind() {
    let cluster = cluster();

    assert_eq!(chosen(&cluster, &routing(), 0), [1, 2, 3]);
    set(&cluster.nodes[1], 1001.0, 100);
    assert_eq!(chosen(&cluster, &routing(), 0), [2, 3]);
    let any = Routing {
        max_lag_ms: 0,
        ..routing()
    };
    assert_eq!(chosen(&cluster, &any, 0), [1, 2, 3]);
    let eventual = Routing {
        consistency: Consistency::Eventual,
        ..routing()
    };
    assert_eq!(chosen(&cluster, &eventual, 0), [1, 2, 3]);
    let strong = Routing {
        consistency: Consistency::Strong,
        ..routing()
    };
    assert!(chosen(&cluster, &strong, 0).is_empty());
}

#[test]
fn what_need_not_be_asked_comes_first_and_without_a_need_only_what_is_kept() {
    let cluster = cluster();
    let session = Routing {
        consistency: Consistency::Session,
        ..routing()
    };
    set(&cluster.nodes[2], 0.0, 200);

    assert_eq!(chosen(&cluster, &session, 200), [2]);
    assert_eq!(chosen(&cluster, &session, 201), [1, 2, 3]);
    let kept = &cluster.nodes[3].standing;
    let choice = |need| {
        let kept = Some(kept);
        choose(
            &cluster,
            &session,
            Wish {
                kept,
                ..wish(&session, need)
            },
        )
    };
    assert_eq!(choice(None), Some((3, Certainty::Known)));
    assert_eq!(choose(&cluster, &session, wish(&session, None)), None);
    let need = |age_us| Need {
        floor: 300,
        age_us,
        is_carried: false,
    };
    kept.learn(100, need(10));
    let need = need(5);
    assert_eq!(chosen(&cluster, &session, 300), [1, 2]);
    assert_eq!(choice(Some(need)), Some((3, Certainty::Known)));
}

#[test]
fn what_was_carried_here_is_asked_for_as_long_as_that_is_of_use() {
    let cluster = cluster();
    let session = Routing {
        consistency: Consistency::Session,
        ..routing()
    };
    let standing = &cluster.nodes[1].standing;
    let written = Need {
        floor: 1000,
        age_us: 10,
        is_carried: false,
    };
    let carried = Need {
        is_carried: true,
        ..written
    };
    let asked = |need| standing.fits(session.freshness(), need) == Some(Certainty::Asked);
    standing.learn(
        0,
        Need {
            age_us: 500,
            ..written
        },
    );

    assert_eq!((asked(written), asked(carried)), (false, true));
    let vain = (0..).take_while(|_| {
        let is_asked = asked(carried);
        standing.learn(0, carried);
        is_asked
    });
    assert!((5..20).contains(&vain.count()));
    assert!(asked(Need {
        age_us: 1000,
        ..carried
    }));
    standing.learn(
        2000,
        Need {
            floor: 2000,
            ..carried
        },
    );
    let later = Need {
        floor: 3000,
        ..carried
    };
    assert!(asked(later));
}

#[test]
fn those_of_the_own_zone_come_first() {
    let cluster = cluster();
    let near = Routing {
        zone: Some("b".to_owned()),
        ..routing()
    };

    assert_eq!(chosen(&cluster, &near, 0), [3]);
    set(&cluster.nodes[3], 9999.0, 100);
    assert_eq!(chosen(&cluster, &near, 0), [1, 2]);
}

#[test]
fn who_names_a_node_gets_that_one_or_none() {
    let cluster = cluster();
    let routing = routing();
    let named = |name| {
        let wish = Wish {
            meant: Meant::Named(name),
            ..wish(&routing, Some(Need::default()))
        };
        choose(&cluster, &routing, wish)
    };

    assert_eq!(named("two"), Some((2, Certainty::Known)));
    assert_eq!(named("primary"), None);
    assert_eq!(named("other"), None);
}

#[test]
fn a_group_answers_also_without_a_share_of_the_others() {
    let mut cluster = cluster();
    Arc::get_mut(&mut cluster).unwrap().nodes[3].weight = 0;
    let routing = routing();
    let of = |members: [bool; 4], place: usize| {
        set(&cluster.nodes[place], 9999.0, 100);
        let wish = Wish {
            meant: Meant::Group(&members),
            ..wish(&routing, Some(Need::default()))
        };
        choose(&cluster, &routing, wish).map(|(place, _)| place)
    };

    assert_eq!(of([false, false, true, true], 2), Some(3));
    assert_eq!(of([true, false, true, true], 3), None);
    assert_eq!(chosen(&cluster, &routing, 0), [1]);
}

#[test]
fn an_open_circuit_gets_nothing_and_a_half_open_one_a_few_at_a_time() {
    let cluster = cluster();
    let node = &cluster.nodes[1].standing;

    node.change(&RULES, 0, |circuit| {
        circuit.fail(&RULES, 0, Witness::Traffic, "reset")
    });
    assert_eq!(chosen(&cluster, &routing(), 0), [2, 3]);
    node.change(&RULES, 2_000_000_000, |circuit| {
        circuit.tick(&RULES, 2_000_000_000, true)
    });
    node.begin();
    assert_eq!(chosen(&cluster, &routing(), 0), [1, 2, 3]);
    node.begin();
    assert_eq!(chosen(&cluster, &routing(), 0), [2, 3]);
    let turned = node.answered(1, 3_000_000_000, || RULES);

    assert_eq!(turned.map(breaker::State::name), Some("closed"));
    assert_eq!(chosen(&cluster, &routing(), 0), [1, 2, 3]);
}
