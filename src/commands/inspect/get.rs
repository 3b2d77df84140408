//! `get`: one key, now or at a revision.

use etcd_proto::mvccpb::KeyValue;
use serde_json::json;

use super::{InspectError, connect, read, shown, value::Decoded};
use crate::args::{GetArgs, Output};

pub async fn get(args: &GetArgs) -> Result<Vec<u8>, InspectError> {
    let mut remote = connect(&args.server).await?;
    let (found, _) = read(&mut remote, args.key.as_bytes(), args.revision).await?;
    let found = found.ok_or_else(|| InspectError::NoKey {
        key: shown(args.key.as_bytes()),
        at: match args.revision {
            0 => String::new(),
            revision => format!(" at revision {revision}"),
        },
    })?;
    Ok(match args.output {
        Output::Raw => found.value.to_vec(),
        Output::Json => json_of(&found).into_bytes(),
        Output::Yaml => yaml_of(&found).into_bytes(),
    })
}

fn yaml_of(kv: &KeyValue) -> String {
    let decoded = Decoded::of(&kv.value);
    let mut text = format!("# {}: {}\n", shown(&kv.key), revisions(kv));
    if let Some(remark) = &decoded.remark {
        text += &format!("# {}: {remark}\n", decoded.encoding.name());
    }
    text + &decoded.to_text()
}

fn json_of(kv: &KeyValue) -> String {
    let decoded = Decoded::of(&kv.value);
    let document = json!({
        "key": shown(&kv.key),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
        "lease": (kv.lease != 0).then(|| format!("{:x}", kv.lease)),
        "encoding": decoded.encoding.name(),
        "remark": decoded.remark,
        "value": decoded.value,
    });
    format!("{document:#}\n")
}

/// Returns where a value stands in the history of its key.
pub fn revisions(kv: &KeyValue) -> String {
    let lease = match kv.lease {
        0 => String::new(),
        lease => format!(", lease {lease:x}"),
    };
    format!(
        "revision {} (version {}, created at {}{lease})",
        kv.mod_revision, kv.version, kv.create_revision
    )
}
