use std::io::Write as _;

use super::*;
use crate::config::{Credentials, Inbound};

/// 2026-11-23.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_795_392_000))
}

fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn trunk(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: trunkline.dev/v1alpha1\nkind: Trunk\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

fn agent(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: trunkline.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: \
         {{endpoint: {{webSocket: {{url: 'ws://{name}', dialect: TwilioMediaStreams}}}}{more}}}\n"
    )
}

fn secret(name: &str, data: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{data}}}\n"
    )
}

const FROM_A: &str = "inbound: {sources: ['203.0.113.0/24']}";

fn names(config: &Config) -> Vec<&str> {
    config.trunks.iter().map(|it| it.name.as_str()).collect()
}

/// "Kind/name field outcome" of everything rejected.
fn rejected(config: &Config) -> Vec<String> {
    config
        .rejected
        .iter()
        .map(|it| format!("{}/{} {} {:?}", it.kind, it.name, it.field, it.outcome))
        .collect()
}

#[test]
fn reloading_keeps_what_was_good_and_takes_what_is_better() {
    let mut manifests = Manifests::default();
    let digest = "inbound: {authSecretRef: {name: s}}";
    let password = |config: &Config| {
        config.password("u").and_then(Secret::expose_text).unwrap_or("none").to_owned()
    };
    let mut step = |trunks: &str, secrets: &str| {
        manifests.load(&files(&[("secrets.yaml", secrets), ("trunks.yaml", trunks)]), now())
    };
    let one = secret("s", "username: u, password: one");
    let both = [trunk("a", FROM_A), trunk("b", digest)].concat();

    let first = step(&both, &one);
    assert_eq!((names(&first), rejected(&first)), (vec!["a", "b"], vec![]));

    // Nothing changed: the same objects.
    let again = step(&both, &one);
    assert!(Arc::ptr_eq(&first.trunks[0], &again.trunks[0]));
    assert_eq!(first.hash, again.hash);

    // A file that does not parse keeps its last good version.
    let broken = step("a: [", &one);
    assert_eq!(names(&broken), ["a", "b"]);
    assert_eq!(rejected(&broken), ["File/trunks.yaml  LastGoodKept"]);
    assert_ne!(broken.hash, first.hash);

    // An object that turns bad is kept as it was, a bad one that was never good is left out, and
    // the rest loads.
    let bad = [
        trunk("a", "inbound: {}"),
        trunk("b", digest),
        trunk("c", "inbound: {}"),
        trunk("d", "inbound: {sources: ['192.0.2.0/24']}"),
    ]
    .concat();
    let partly = step(&bad, &one);
    assert_eq!(names(&partly), ["a", "b", "d"]);
    assert!(Arc::ptr_eq(&first.trunks[0], &partly.trunks[0]));
    assert_eq!(
        rejected(&partly),
        ["Trunk/a spec.inbound LastGoodKept", "Trunk/c spec.inbound LeftOut"]
    );

    // A Secret that goes away or loses its key leaves the last password in force.
    let without = step(&both, &secret("other", "x: z"));
    assert_eq!(rejected(&without), ["Trunk/b spec.inbound.authSecretRef.name LastGoodKept"]);
    assert_eq!(password(&without), "one");
    let keyless = step(&both, &secret("s", "username: u"));
    assert_eq!(rejected(&keyless), ["Trunk/b spec.inbound.authSecretRef LastGoodKept"]);
    assert_eq!(password(&keyless), "one");

    // Repaired, with a new password.
    let repaired = step(&both, &secret("s", "username: u, password: two"));
    assert_eq!((rejected(&repaired), password(&repaired)), (vec![], "two".into()));

    // What is deleted is gone, and is no last good version when it returns broken.
    let deleted = step(&trunk("b", digest), &one);
    assert_eq!(names(&deleted), ["b"]);
    let back = step(&[trunk("a", "inbound: {}"), trunk("b", digest)].concat(), &one);
    assert_eq!(names(&back), ["b"]);
    assert_eq!(rejected(&back), ["Trunk/a spec.inbound LeftOut"]);
}

#[test]
fn a_file_that_is_removed_takes_its_objects_with_it() {
    let mut manifests = Manifests::default();
    let a = trunk("a", FROM_A);
    assert_eq!(names(&manifests.load(&files(&[("a.yaml", &a)]), now())), ["a"]);
    assert_eq!(names(&manifests.load(&files(&[("b.yaml", "")]), now())), [""; 0]);
}

#[test]
fn what_is_not_supported_yet_is_left_out_whole() {
    let table = [
        (
            trunk("x", "outbound: {addresses: [a.example], callerId: {default: '+15551230001'}}"),
            "spec.outbound.callerId",
        ),
        (
            trunk(
                "x",
                "outbound: {addresses: [a.example], authSecretRef: {name: s}, registration: {}}",
            ),
            "spec.outbound.registration",
        ),
        #[cfg(not(feature = "opus"))]
        (trunk("x", &format!("{FROM_A}, media: {{codecs: [G722, Opus]}}")), "spec.media.codecs[1]"),
        (agent("x", ", audio: {encoding: PCM16, sampleRateHertz: 16000}"), "spec.audio.encoding"),
        (agent("x", ", holdPromptRef: {name: p, key: k}"), "spec.holdPromptRef"),
        (agent("x", ", fallback: {transferTo: '+15551239999'}"), "spec.fallback.transferTo"),
        (agent("x", "").replace("TwilioMediaStreams", "Vapi"), "spec.endpoint.webSocket.dialect"),
        (
            agent("x", "").replace("dialect:", "session: {a: 1}, dialect:"),
            "spec.endpoint.webSocket.session",
        ),
    ];
    for (text, field) in table {
        let config = Manifests::default().load(&files(&[("a.yaml", &text)]), now());
        assert!(config.trunks.is_empty() && config.agents.is_empty(), "{field}");
        let first = config.rejected.iter().find(|it| it.field == field);
        let first = first.unwrap_or_else(|| panic!("{field}: {:?}", config.rejected));
        assert!(first.message.starts_with(&format!("not supported yet: {field}")), "{first}");
        assert_eq!(first.outcome, Outcome::LeftOut);
    }
    // Empty, default or harmless: accepted.
    let fine = [
        agent("a", ", audio: {encoding: PCMU, sampleRateHertz: 8000}, region: eu, zone: eu-1"),
        agent("b", "").replace("dialect:", "session: {}, dialect:"),
    ];
    let config = Manifests::default().load(&files(&[("a.yaml", &fine.concat())]), now());
    assert_eq!((config.agents.len(), rejected(&config)), (2, vec![]));
}

#[test]
fn codecs_keep_the_order_in_which_they_are_written() {
    let text = trunk("x", &format!("{FROM_A}, media: {{codecs: [G722, PCMA]}}"));
    let config = Manifests::default().load(&files(&[("a.yaml", &text)]), now());
    assert_eq!(rejected(&config), Vec::<String>::new());
    assert_eq!(config.trunks[0].codecs, [crate::media::Codec::G722, crate::media::Codec::Pcma]);
}

#[test]
fn routes_and_fallbacks_that_lead_nowhere_drop_alone() {
    let routes = "routes: [{name: one, numbers: ['+1*'], agentRef: {name: gone}}, \
                  {name: two, agents: [{name: a}, {name: lost, weight: 2}]}]";
    let text = [
        trunk("t", &format!("{FROM_A}, {routes}")),
        agent("a", ", fallback: {agentRef: {name: b}}"),
        agent("b", ", fallback: {agentRef: {name: a}}"),
        agent("c", ", fallback: {agentRef: {name: gone}}"),
        agent("d", ", fallback: {agentRef: {name: c}}"),
        agent("lost", ", holdPromptRef: {name: p, key: k}"),
    ];
    let config = Manifests::default().load(&files(&[("a.yaml", &text.concat())]), now());
    let routes: Vec<_> =
        config.trunks[0].routes.iter().map(|it| (&*it.name, it.agents.len())).collect();
    assert_eq!(routes, [("two", 1)]);
    assert_eq!(
        rejected(&config),
        [
            "Trunk/t spec.routes[0].agentRef.name PartlyLoaded",
            "Trunk/t spec.routes[1].agents[1].name PartlyLoaded",
            "Agent/a spec.fallback.agentRef.name PartlyLoaded",
            "Agent/c spec.fallback.agentRef.name PartlyLoaded",
            "Agent/lost spec.holdPromptRef LeftOut",
        ]
    );
    let fallback = |name: &str| config.agents[name].fallback.clone();
    assert_eq!((fallback("a"), fallback("c")), (None, None));
    assert_eq!(fallback("b"), Some(Fallback::Agent("a".into())));
    assert_eq!(fallback("d"), Some(Fallback::Agent("c".into())));
    let said: Vec<_> = config.rejected.iter().map(|it| it.message.as_str()).collect();
    assert!(said[1].contains("is left out, see there"), "{said:?}");
    assert!(said[2].contains("circle"), "{said:?}");
}

#[test]
fn equal_claims_go_to_the_older_trunk_and_the_other_keeps_the_rest() {
    let routes = |numbers: &str| {
        format!("{FROM_A}, routes: [{{name: r, numbers: [{numbers}], agentRef: {{name: a}}}}]")
    };
    let created = |text: String, at: &str| {
        text.replace("metadata: {", &format!("metadata: {{creationTimestamp: '{at}', "))
    };
    let text = [
        agent("a", ""),
        created(trunk("young", &routes("'+1*', '+2*'")), "2026-02-01T00:00:00Z"),
        created(trunk("zold", &routes("'+1*'")), "2026-01-01T00:00:00Z"),
        trunk("hand", &routes("'+2*'")),
        trunk("udp", &format!("transport: UDP, {}", routes("'+2*'"))),
        trunk("narrow", &routes("'+2*'").replace("/24", "/25")),
    ];
    let config = Manifests::default().load(&files(&[("a.yaml", &text.concat())]), now());
    assert_eq!(names(&config), ["zold", "young", "narrow", "udp"]);
    assert_eq!(
        rejected(&config),
        [
            "Trunk/young spec.routes[0].numbers[0] PartlyLoaded",
            "Trunk/hand spec.routes[0].numbers[0] LeftOut"
        ]
    );
    assert!(config.rejected[0].message.contains("\"zold\" takes +1* from 203.0.113.0/24"));
}

#[test]
fn equal_usernames_conflict_as_equal_sources_do_and_never_with_two_passwords() {
    let digest = |secret: &str, number: &str| {
        format!(
            "inbound: {{authSecretRef: {{name: {secret}}}}}, \
             routes: [{{name: r, numbers: ['{number}'], agentRef: {{name: a}}}}]"
        )
    };
    let text = [
        agent("a", ""),
        secret("s", "username: u, password: one"),
        secret("t", "username: u, password: two"),
        trunk("a", &digest("s", "+1*")),
        trunk("b", &digest("s", "+1*")),
        trunk("c", &digest("s", "+2*")),
        trunk("d", &digest("t", "+3*")),
    ];
    let config = Manifests::default().load(&files(&[("a.yaml", &text.concat())]), now());
    assert_eq!(names(&config), ["a", "c"]);
    assert_eq!(
        rejected(&config),
        ["Trunk/b spec.routes[0].numbers[0] LeftOut", "Trunk/d spec.inbound.authSecretRef LeftOut"]
    );
}

#[test]
fn the_pool_that_trunks_name_is_served_and_no_other() {
    let pool = |name: &str, ports: &str| {
        format!(
            "---\napiVersion: trunkline.dev/v1alpha1\nkind: MediaPool\nmetadata: {{name: {name}}}\n\
             spec: {{callsPerPod: 7, exposure: {{sip: {{{ports}}}, address: {{source: Static, static: ['192.0.2.1']}}}}}}\n"
        )
    };
    let text = [
        pool("edge", "udp: 5070, tcp: 0, tls: 0"),
        pool("other", ""),
        trunk("a", &format!("poolRef: {{name: edge}}, transport: UDP, {FROM_A}")),
        trunk("b", "inbound: {sources: ['192.0.2.0/24']}, transport: UDP"),
        trunk("c", "inbound: {sources: ['192.0.2.0/24']}, poolRef: {name: edge}"),
    ];
    let config = Manifests::default().load(&files(&[("a.yaml", &text.concat())]), now());
    assert_eq!((config.pool.name.as_str(), config.pool.calls_per_pod), ("edge", 7));
    assert_eq!((config.pool.sip.udp, config.pool.sip.tcp), (Some(5070), None));
    assert_eq!(names(&config), ["a"]);
    assert_eq!(
        rejected(&config),
        [
            "MediaPool/other metadata.name LeftOut",
            "Trunk/b spec.poolRef.name LeftOut",
            "Trunk/c spec.transport LeftOut"
        ]
    );

    let bare = Manifests::default().load(&files(&[("a.yaml", &trunk("a", FROM_A))]), now());
    assert!(!bare.pool.written);
    assert_eq!(bare.pool.calls_per_pod, 500);
    assert_eq!(bare.pool.media.block(0), Some((20000, 20999)));
    assert_eq!(bare.pool.media.block(9), Some((29000, 29999)));
    assert_eq!(bare.pool.media.block(10), None);
    assert_eq!(bare.pool.drain_timeout, Duration::from_hours(1));
}

#[test]
fn a_rendered_list_loads_and_a_newer_schema_is_forgiven_what_a_person_is_not() {
    let object = |extra: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"List","items":[
            {{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"s","namespace":"voice"}},"data":{{"username":"dQ==","password":"cHc="}}}},
            {{"apiVersion":"trunkline.dev/v1alpha1","kind":"Trunk","metadata":{{"name":"a","namespace":"voice"}},
              "spec":{{{extra}"inbound":{{"authSecretRef":{{"name":"s"}}}}}}}}]}}"#
        )
    };
    let load = |extra: &str, schema: &str| {
        let files: Files = [
            (RENDERED.to_owned(), gz(&object(extra))),
            (SCHEMA.to_owned(), schema.as_bytes().to_vec()),
            (TOKEN.to_owned(), b"t0ken\n".to_vec()),
            (KEY.to_owned(), b"k3y".to_vec()),
        ]
        .into_iter()
        .collect();
        Manifests::default().load(&files, now())
    };
    let config = load("", "1");
    assert_eq!((names(&config), rejected(&config)), (vec!["a"], vec![]));
    assert_eq!(config.password("u").and_then(Secret::expose_text), Some("pw"));
    assert_eq!(config.admin_token.as_ref().and_then(Secret::expose_text), Some("t0ken"));
    assert_eq!(config.pool_key.as_ref().and_then(Secret::expose_text), Some("k3y"));
    assert_eq!(config.pool.namespace, "voice");

    let newer = load(r#""mood":"calm","#, "2\n");
    assert_eq!((names(&newer), rejected(&newer)), (vec!["a"], vec![]));
    assert_eq!(newer.ignored[0].field, "spec.mood");
    let same = load(r#""mood":"calm","#, "1");
    assert_eq!(rejected(&same), ["Trunk/a spec.mood LeftOut"]);

    let by_hand = trunk("a", &format!("mood: calm, {FROM_A}"));
    let by_hand =
        Manifests::default().load(&files(&[("a.yaml", &by_hand), ("schema", "9")]), now());
    assert_eq!(rejected(&by_hand), ["Trunk/a spec.mood LeftOut"]);

    // Cut short in the middle: the last good one stays.
    let mut manifests = Manifests::default();
    let whole = gz(&object(""));
    let put = |bytes: &[u8]| [(RENDERED.to_owned(), bytes.to_vec())].into_iter().collect::<Files>();
    manifests.load(&put(&whole), now());
    let cut = manifests.load(&put(&whole[..whole.len() / 2]), now());
    assert_eq!(
        (names(&cut), rejected(&cut)),
        (vec!["a"], vec!["File/manifests.json.gz  LastGoodKept".into()])
    );
}

#[test]
fn slips_in_documents_are_named() {
    let text = "- a\n---\nkind: Trunk\nmetadata: {name: x}\n---\napiVersion: v1\nkind: Secret\n\
                metadata: {name: s}\ndata: {token: '%%%', other: 5}\n---\napiVersion: trunkline.dev/v1\n\
                kind: Agent\nmetadata: {name: why}\n---\napiVersion: trunkline.dev/v1alpha1\nkind: Trnuk\n\
                metadata: {name: z}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ok}\n---\n\
                apiVersion: trunkline.dev/v1alpha1\nkind: Agent\nmetadata: {name: no}\n";
    let text = format!("{text}{}{}", secret("t", "a: b"), secret("t", "a: c"));
    let config = Manifests::default().load(&files(&[("a.yaml", &text)]), now());
    let said: Vec<String> = config.rejected.iter().map(ToString::to_string).collect();
    let starts = [
        "a.yaml:1: not an object",
        "a.yaml:3: Trunk/x: apiVersion: missing; write trunkline.dev/v1alpha1",
        "a.yaml:9: Secret/s: data.other: write the value as text",
        "a.yaml:9: Secret/s: data.token: not base64; write the value as it is under stringData",
        "a.yaml:11: Agent/why: apiVersion: \"trunkline.dev/v1\" is not served",
        "a.yaml:16: Trnuk/z: kind: \"Trnuk\" is not a kind of trunkline.dev/v1alpha1: write Trunk",
        "a.yaml:25: Agent: metadata.name: not text; put it in quotes",
        "a.yaml:34: Secret/t: metadata.name: already in a.yaml:28; keep one",
    ];
    assert_eq!(said.len(), starts.len(), "{said:#?}");
    for (said, start) in said.iter().zip(starts) {
        assert!(said.starts_with(start), "{said}\n{start}");
    }
    assert_eq!(config.ignored[0].kind, "Service");
}

#[test]
fn references_stay_within_a_namespace_and_say_where_the_other_one_is() {
    let elsewhere =
        secret("s", "username: u, password: p").replace("name: s", "name: s, namespace: far");
    let text = [elsewhere, trunk("a", "inbound: {authSecretRef: {name: s}}")].concat();
    let config = Manifests::default().load(&files(&[("a.yaml", &text)]), now());
    assert!(config.rejected[0].message.contains("there is one in namespace far"));
}

#[test]
fn a_configuration_prints_without_its_secrets() {
    let text = [
        secret("s", "username: user1, password: hunter2, token: s3cret"),
        trunk("a", "inbound: {authSecretRef: {name: s}}"),
        agent("b", "").replace(
            "dialect:",
            "authSecretRef: {name: s}, headers: [{name: X-Key, value: inl1ne}, \
             {name: X-Other, valueFrom: {secretKeyRef: {name: s, key: token}}}], dialect:",
        ),
    ];
    let config = Manifests::default().load(&files(&[("a.yaml", &text.concat())]), now());
    assert_eq!(rejected(&config), [""; 0]);
    let Inbound { credentials: Some(Credentials { username, .. }), .. } =
        config.trunks[0].inbound.clone().unwrap()
    else {
        panic!("no credentials")
    };
    assert_eq!(username, "user1");
    assert_eq!(config.agents["b"].endpoint.headers[1].1.expose_text(), Some("s3cret"));
    let printed =
        format!("{config:?} {config:#?} {}", serde_json::to_string(&config.rejected).unwrap());
    for secret in ["hunter2", "s3cret", "inl1ne"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn a_certificate_is_checked_and_its_absence_is_a_warning() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["sip.example".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2026, 11, 28);
    let crt = params.self_signed(&key).unwrap().pem();
    let other = rcgen::KeyPair::generate().unwrap();
    let tls = |key: &rcgen::KeyPair| {
        serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "sip-cert"},
            "stringData": {"tls.crt": crt, "tls.key": key.serialize_pem()}})
        .to_string()
    };
    let pool = "apiVersion: trunkline.dev/v1alpha1\nkind: MediaPool\nmetadata: {name: default}\n\
                spec: {tls: {certificateRef: {name: sip-cert}}, exposure: {address: {source: Static, static: ['192.0.2.1']}}}\n";
    let a = trunk("a", FROM_A);
    let mut manifests = Manifests::default();
    let good =
        manifests.load(&files(&[("a.yaml", &a), ("c.json", &tls(&key)), ("p.yaml", pool)]), now());
    assert_eq!(rejected(&good), [""; 0]);
    assert!(good.warnings[0].message.contains("ends in 5 days"), "{:?}", good.warnings);
    let bad = manifests
        .load(&files(&[("a.yaml", &a), ("c.json", &tls(&other)), ("p.yaml", pool)]), now());
    assert_eq!(rejected(&bad), ["MediaPool/default spec.tls.certificateRef LastGoodKept"]);
    assert!(bad.pool.tls.is_some());
    let none = Manifests::default().load(&files(&[("a.yaml", &a)]), now());
    let said: Vec<_> = none.warnings.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(said, ["spec.tls.certificateRef", "spec.exposure.address.source"]);
}

#[test]
fn private_and_public_addresses_are_told_apart() {
    for (address, public) in [
        ("203.0.113.9", true),
        ("10.1.2.3", false),
        ("100.64.0.1", false),
        ("127.0.0.1", false),
        ("169.254.1.1", false),
        ("2001:db8::1", true),
        ("fd00::1", false),
        ("fe80::1", false),
        ("::ffff:192.168.1.1", false),
    ] {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }
    let mut manifests = Manifests::new(Options { advertised: vec!["10.0.0.5".parse().unwrap()] });
    let config = manifests.load(&files(&[("a.yaml", &trunk("a", FROM_A))]), now());
    assert!(
        config
            .warnings
            .iter()
            .any(|it| it.kind == "Trunk" && it.message.contains("private address"))
    );
    manifests.advertise(vec!["192.0.2.10".parse().unwrap()]);
    let config = manifests.load(&files(&[("a.yaml", &trunk("a", FROM_A))]), now());
    assert!(!config.warnings.iter().any(|it| it.kind == "Trunk"));
}

/// The whole road: a mounted Secret is swapped, the watcher notices, the configuration changes.
#[cfg(unix)]
#[tokio::test]
async fn a_swapped_mount_becomes_the_next_configuration() {
    use crate::config::read::What;
    use crate::config::watch::Watcher;
    use std::fs;
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let list = |trunk: &str| {
        gz(&format!(
            r#"{{"apiVersion":"v1","kind":"List","items":[{{"apiVersion":"trunkline.dev/v1alpha1","kind":"Trunk",
            "metadata":{{"name":"{trunk}"}},"spec":{{"inbound":{{"sources":["203.0.113.0/24"]}}}}}}]}}"#
        ))
    };
    let version = |name: &str, trunk: &str| {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join(RENDERED), list(trunk)).unwrap();
    };
    version("..1", "before");
    symlink("..1", at("..data")).unwrap();
    symlink(format!("..data/{RENDERED}"), at(RENDERED)).unwrap();

    let mut watcher = Watcher::new(dir.path(), What::Manifests);
    let mut manifests = Manifests::default();
    assert_eq!(names(&manifests.load(&watcher.read().unwrap(), now())), ["before"]);

    version("..2", "after");
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    let (_, found) =
        tokio::time::timeout(Duration::from_secs(10), watcher.changed()).await.unwrap();
    assert_eq!(names(&manifests.load(&found.unwrap(), now())), ["after"]);
}
