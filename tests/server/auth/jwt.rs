//! JSON web tokens: what etcd makes is good here, and the other way round.

use std::fs;

use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::*;
use crate::nodes::trio::Trio;

/// Changes of the rules that a node sleeps through.
const ROUNDS: usize = 4;

/// Connections to a node that sleeps.
const WAITING: usize = 20;

/// The longest for an answer that waits for nothing: a call that waits for a leader takes 7 s.
const AT_ONCE: Duration = Duration::from_secs(5);

const OLD_REVISION: &str = "etcdserver: revision of auth store is old";

/// The key files of a method.
struct Keys {
    method: &'static str,
    dir: TempDir,
}

impl Keys {
    fn new(method: &'static str) -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let ec = |curve| {
            let group = EcGroup::from_curve_name(curve).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        let key = match &method[..2] {
            "HS" => None,
            "RS" | "PS" => Some(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()),
            "Ed" => Some(PKey::generate_ed25519().unwrap()),
            _ if method == "ES256" => Some(ec(Nid::X9_62_PRIME256V1)),
            _ if method == "ES384" => Some(ec(Nid::SECP384R1)),
            _ => Some(ec(Nid::SECP521R1)),
        };
        let private = key.as_ref().map(|key| key.private_key_to_pem_pkcs8());
        let private = private.map_or(b"a secret\n".to_vec(), Result::unwrap);
        fs::write(dir.path().join("key"), private).unwrap();
        if let Some(key) = key {
            fs::write(dir.path().join("key.pub"), key.public_key_to_pem().unwrap()).unwrap();
        }
        Self { method, dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The flags of a server that makes tokens.
    fn flags(&self) -> [String; 2] {
        self.flags_with(&format!("priv-key={}", self.path("key")))
    }

    fn flags_with(&self, options: &str) -> [String; 2] {
        let token = format!("--auth-token=jwt,{options},sign-method={}", self.method);
        [token, "--bcrypt-cost=4".to_owned()]
    }
}

async fn start(kind: Kind, flags: &[String]) -> Server {
    let flags = flags.to_vec();
    Server::start_with(kind, Options { flags, tls: None }).await
}

/// k8s-dqlite, and an etcd where the machine has one.
async fn servers(flags: &[String]) -> Vec<Server> {
    let mut servers = vec![start(Kind::K8sDqlite, flags).await];
    let options = Options {
        flags: flags.to_vec(),
        tls: None,
    };
    servers.extend(etcd_or_skip(options).await);
    servers
}

#[tokio::test]
async fn a_token_of_one_server_is_good_at_the_other() {
    for method in ["RS256", "PS384", "ES512", "HS256", "EdDSA"] {
        let keys = Keys::new(method);
        let servers = servers(&keys.flags()).await;
        let mut tokens = Vec::new();
        for server in &servers {
            let api = server.api().await;
            add_user(&api, "root", &["root"]).await;
            api.ask(AuthEnableRequest {}).await;
            tokens.push(api.ask(authenticate("root", "root")).await.token);
        }
        for server in &servers {
            for token in &tokens {
                let root = server.api().await.with_token(token);
                root.put("a", method).await;
                assert_eq!(root.ask(get("a")).await.kvs[0].value, method);
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_of_the_rules_for_which_it_was_made() {
    let keys = Keys::new("ES256");
    for server in servers(&keys.flags()).await {
        let api = server.api().await;
        let root = enable(&api).await;
        root.put("a", "1").await;
        let changed = txn().when(version("a", 1)).then(put("b", "1"));
        add_role(&root, "role", &[]).await;
        let expected = (Code::InvalidArgument, OLD_REVISION.to_owned());
        assert_eq!(root.refused(put("a", "2")).await, expected);
        assert_eq!(root.refused(get("a")).await, expected);
        assert_eq!(root.refused(changed).await, expected);
        // Nothing of that is asked of an administrator.
        add_role(&root, "other", &[]).await;
        sign_in(&api, "root").await.put("a", "2").await;
        assert_eq!(
            api.refused(get("a")).await.1,
            "etcdserver: user name is empty"
        );
    }
}

fn base64_url(bytes: &[u8]) -> String {
    let text = openssl::base64::encode_block(bytes);
    text.trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

/// Returns a good token of a number of rules after those that there are, as a node has that has not heard of them.
async fn newer_token(keys: &Keys, api: &Api, user: &str) -> String {
    let revision = api.ask(AuthStatusRequest {}).await.auth_revision + 1;
    let claims = serde_json::json!({"username": user, "revision": revision, "exp": 1u64 << 33});
    let parts = [
        br#"{"alg":"HS256","typ":"JWT"}"#.to_vec(),
        claims.to_string().into_bytes(),
    ];
    let signed = parts.map(|part| base64_url(&part)).join(".");
    let key = PKey::hmac(&fs::read(keys.path("key")).unwrap()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64_url(&signature))
}

#[tokio::test]
async fn a_serializable_read_with_a_token_of_newer_rules_is_refused_as_old() {
    let keys = Keys::new("HS256");
    for server in servers(&keys.flags()).await {
        let api = server.api().await;
        let root = enable(&api).await;
        root.put("a", "1").await;
        let serializable = RangeRequest {
            serializable: true,
            ..get("a")
        };
        let newer = root.with_token(&newer_token(&keys, &root, "root").await);
        let expected = (Code::InvalidArgument, OLD_REVISION.to_owned());
        assert_eq!(newer.refused(serializable.clone()).await, expected);
        let nobody = root.with_token(&newer_token(&keys, &root, "nobody").await);
        let denied = (
            Code::PermissionDenied,
            "etcdserver: permission denied".to_owned(),
        );
        assert_eq!(nobody.refused(serializable.clone()).await, denied);
        assert_eq!(root.ask(serializable).await.kvs[0].value, "1");
    }
}

#[tokio::test]
async fn without_a_leader_a_serializable_read_with_a_newer_token_waits_for_nothing() {
    let keys = Keys::new("HS256");
    let flags = keys.flags().to_vec();
    let mut trio = Trio::start_with(&Options { flags, tls: None }).await;
    let leader = trio.leader().await;
    let root = enable(&trio.nodes[leader].api().await).await;
    let token = newer_token(&keys, &root, "root").await;
    let left = trio.others(leader)[0];
    let api = trio.nodes[left].api().await;
    let known = api.with_token(root.token.as_ref().unwrap().to_str().unwrap());
    let serializable = RangeRequest {
        serializable: true,
        ..get("a")
    };
    until("the node knows the rules", async || {
        known.try_ask(serializable.clone()).await.is_ok()
    })
    .await;
    trio.others(left)
        .iter()
        .for_each(|other| trio.pause(*other));
    until("the node has no leader", async || {
        known.ask(StatusRequest {}).await.leader == 0
    })
    .await;
    let newer = api.with_token(&token);
    let began = Instant::now();
    let expected = (Code::InvalidArgument, OLD_REVISION.to_owned());
    assert_eq!(newer.refused(serializable).await, expected);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let refused = newer.try_ask(get("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    trio.others(left).iter().for_each(|other| trio.wake(*other));
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused() {
    let keys = Keys::new("HS512");
    for server in servers(&keys.flags()).await {
        let api = server.api().await;
        enable(&api).await;
        let good = api.ask(authenticate("root", "root")).await.token;
        let (signed, _) = good.rsplit_once('.').unwrap();
        let unsigned = format!("{signed}.");
        for bad in ["nonsense", "a.b.c", signed, &unsigned, &good[1..]] {
            let refused = api.with_token(bad).try_ask(get("a")).await;
            assert_eq!(outcome(&refused), "bad token", "{bad}");
        }
    }
}

#[tokio::test]
async fn a_token_ends_at_its_time_also_in_use() {
    let keys = Keys::new("HS256");
    let flags = keys.flags_with(&format!("priv-key={},ttl=2s", keys.path("key")));
    for server in servers(&flags).await {
        let root = enable(&server.api().await).await;
        until("the token has ended", async || {
            outcome(&root.try_ask(get("a")).await) == "bad token"
        })
        .await;
    }
}

#[tokio::test]
async fn who_has_the_public_key_only_checks_tokens() {
    let keys = Keys::new("RS384");
    let verifying = keys.flags_with(&format!("pub-key={}", keys.path("key.pub")));
    for mut server in servers(&keys.flags()).await {
        let root = enable(&server.api().await).await;
        let token = root.token.unwrap().to_str().unwrap().to_owned();
        server.terminate().await;
        server.add_flags(&verifying);
        server.launch();
        until(
            "the server takes the token",
            async || match Api::try_connect(&server.client_url()).await {
                Some(api) => api.with_token(&token).try_ask(put("a", "1")).await.is_ok(),
                None => false,
            },
        )
        .await;
        let root = server.api().await.with_token(&token);
        let text = "auth: token signing attempted with verify-only key";
        assert_eq!(
            root.refused(authenticate("root", "root")).await,
            (Code::Unknown, text.to_owned())
        );
    }
}

#[tokio::test]
async fn all_nodes_take_a_token_of_one() {
    let keys = Keys::new("EdDSA");
    let flags = keys.flags().to_vec();
    let mut trio = Trio::start_with(&Options { flags, tls: None }).await;
    let leader = trio.leader().await;
    let api = trio.nodes[leader].api().await;
    let root = enable(&api).await;
    for round in 0..ROUNDS {
        let away = trio.others(leader)[round % 2];
        let mut others = Vec::new();
        for _ in 0..WAITING {
            others.push(trio.nodes[away].api().await);
        }
        // So that its rules are older when the token arrives.
        trio.pause(away);
        let user = format!("user {round}");
        add_user(&root, &user, &["root"]).await;
        let token = api.ask(authenticate(&user, &user)).await.token;
        let mut waiting = JoinSet::new();
        for other in others {
            let other = other.with_token(&token);
            waiting.spawn(async move {
                let written = other.try_ask(put("a", "1")).await.err();
                [written, other.try_ask(get("a")).await.err()]
            });
        }
        trio.wake(away);
        for refused in waiting.join_all().await.into_iter().flatten().flatten() {
            // A client repeats it.
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        }
    }
}

#[tokio::test]
async fn etcdctl_signs_in_and_shows_tokens() {
    let keys = Keys::new("RS256");
    let server = start(Kind::K8sDqlite, &keys.flags()).await;
    let root = enable(&server.api().await).await;
    let token = root.token.unwrap().to_str().unwrap().to_owned();
    let Some(mut signing_in) = etcdctl(&server, &["--user=root:root", "put", "a", "1"]) else {
        return;
    };
    let signed_in = signing_in.output().unwrap();
    assert_eq!(signed_in.stdout, b"OK\n", "{signed_in:?}");
    let shown = etcdctl(&server, &["--auth-jwt-token", &token, "get", "a"]);
    let shown = shown.unwrap().output().unwrap();
    assert_eq!(shown.stdout, b"a\n1\n", "{shown:?}");
}

#[tokio::test]
async fn keys_of_no_use_end_the_start_with_what_is_needed() {
    let keys = Keys::new("ES256");
    let short = Keys::new("PS256");
    let public = PKey::from_rsa(Rsa::generate(768).unwrap()).unwrap();
    fs::write(short.path("key.pub"), public.public_key_to_pem().unwrap()).unwrap();
    for (keys, options, told) in [
        (
            &keys,
            format!("priv-key={}", keys.path("none")),
            "cannot read",
        ),
        (
            &keys,
            "priv-key=/dev/zero".to_owned(),
            "it has more than 1 MiB",
        ),
        (
            &keys,
            format!("priv-key={}", keys.path("key.pub")),
            "no private key in PEM",
        ),
        (
            &keys,
            format!("ttl=5m,pub-key={}", keys.path("key")),
            "neither a public key",
        ),
        (&keys, "ttl=5m".to_owned(), "name priv-key to make tokens"),
        (
            &short,
            format!("pub-key={}", short.path("key.pub")),
            "an RSA key of 1024 bits or more",
        ),
    ] {
        let flags = keys.flags_with(&options).to_vec();
        let options = Options { flags, tls: None };
        let mut server = Server::prepare(Kind::K8sDqlite, options);
        server.launch();
        let status = server.process().wait().await;
        let output = server.output();
        assert_eq!(status.code(), Some(3), "{output}");
        assert!(output.contains(told), "{output}");
        server.forget();
    }
}
