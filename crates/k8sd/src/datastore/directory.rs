//! The storage directory of k8s-dqlite on this node: the files that exist, and those that are missing.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use dqlite::{
    files::{self, IDENTITY_FILES, stays_beside_init, without_mark},
    node::{EngineState, engine_state},
    wire::Server,
};
use serde::{Deserialize, Serialize};

use super::pair;
use crate::{Error, api::DatastoreRequest, certificate::PemPair, state::read};

const CERTIFICATE: &str = "cluster.crt";
const KEY: &str = "cluster.key";
const INIT: &str = "init.yaml";
const FAILURE_DOMAIN: &str = "failure-domain";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InitFile {
    #[serde(default)]
    address: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cluster: Vec<String>,
}

/// The contents of a storage directory.
#[derive(Default)]
pub struct Survey {
    pub pair: Option<PemPair>,
    /// True if there is an init.yaml of a node that begins a cluster at the wanted address.
    pub has_init: bool,
    has_failure_domain: bool,
    /// The node that has run at the wanted address.
    pub node: Option<Server>,
    /// The servers that this node knew.
    pub cluster: Vec<Server>,
}

/// Returns the contents of the directory. Fails where they are ambiguous.
pub fn survey(request: &DatastoreRequest, domain: Option<u64>) -> Result<Survey, Error> {
    let dir = &request.dir;
    if !dir.is_absolute() {
        return Err(Error::Invalid(format!(
            "{} is no absolute path",
            dir.display()
        )));
    }
    let Some(has_data) = has_data(dir)? else {
        return Ok(Survey::default());
    };
    let mut survey = Survey {
        pair: read_pair(dir)?,
        has_failure_domain: has_failure_domain(dir, domain)?,
        ..Survey::default()
    };
    let init = read(&dir.join(INIT))?;
    if has_data {
        if init.is_some() {
            return Err(refused(
                dir,
                "the first start of its node is not finished: let it finish, or move all of it away",
            ));
        }
        let (node, cluster) = read_node(dir, &request.address)?;
        if survey.pair.is_none() {
            return Err(refused(
                dir,
                "it holds data, and no cluster.crt and cluster.key",
            ));
        }
        (survey.node, survey.cluster) = (Some(node), cluster);
        return Ok(survey);
    }
    check_nothing_else(dir)?;
    if let Some(text) = init {
        check_init(dir, &text, &request.address)?;
        survey.has_init = true;
    }
    Ok(survey)
}

impl Survey {
    pub fn knows(&self, address: &str) -> bool {
        self.cluster.iter().any(|server| server.address == address)
    }

    /// Names and contents of what has to be written, in this order: with the last one the server can start.
    pub fn missing(
        &self,
        request: &DatastoreRequest,
        pair: &PemPair,
        others: &[String],
        domain: Option<u64>,
    ) -> Result<Vec<(&'static str, String)>, Error> {
        let mut files = Vec::new();
        if self.pair.is_none() {
            files.push((KEY, pair.key.clone()));
            files.push((CERTIFICATE, pair.certificate.clone()));
        }
        if let Some(domain) = domain
            && !self.has_failure_domain
        {
            files.push((FAILURE_DOMAIN, domain.to_string()));
        }
        if self.node.is_none() && !self.has_init {
            let init = InitFile {
                address: request.address.clone(),
                cluster: others.to_vec(),
            };
            let text = serde_yaml::to_string(&init).map_err(|e| Error::Internal(e.to_string()))?;
            files.push((INIT, text));
        }
        Ok(files)
    }
}

/// Returns whether a node has begun to run here; `None` without the directory.
pub fn has_data(dir: &Path) -> Result<Option<bool>, Error> {
    let engine = match engine_state(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        state => state.map_err(Error::file(dir))?,
    };
    let has_file = IDENTITY_FILES.iter().any(|name| dir.join(name).exists());
    Ok(Some(has_file || engine != EngineState::Empty))
}

fn refused(dir: &Path, reason: &str) -> Error {
    Error::Conflict(format!("{}: {reason}", dir.display()))
}

fn read_pair(dir: &Path) -> Result<Option<PemPair>, Error> {
    let files = (read(&dir.join(CERTIFICATE))?, read(&dir.join(KEY))?);
    let pair = match files {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => PemPair { certificate, key },
        _ => {
            return Err(refused(
                dir,
                "it has only one of cluster.crt and cluster.key: restore the other, or move it away",
            ));
        }
    };
    pair::check(&pair).map_err(|error| refused(dir, &error.to_string()))?;
    Ok(Some(pair))
}

fn has_failure_domain(dir: &Path, wanted: Option<u64>) -> Result<bool, Error> {
    let Some(text) = read(&dir.join(FAILURE_DOMAIN))? else {
        return Ok(false);
    };
    match wanted {
        Some(wanted) if text.trim().parse() != Ok(wanted) => Err(refused(
            dir,
            &format!(
                "failure-domain says {:?}, and {wanted} is wanted: change one of them",
                text.trim()
            ),
        )),
        _ => Ok(true),
    }
}

fn read_node(dir: &Path, address: &str) -> Result<(Server, Vec<Server>), Error> {
    let unfinished = ["join", "bootstrap", "move", "restoring"];
    if let Some(flag) = unfinished.iter().find(|name| dir.join(name).exists()) {
        return Err(refused(
            dir,
            &format!("the file {flag} says that its node is not finished: let it finish first"),
        ));
    }
    let (Some(node), Some(cluster)) = (files::read_info(dir)?, files::read_cluster(dir)?) else {
        return Err(refused(
            dir,
            "it holds data without info.yaml or cluster.yaml: move all of it away",
        ));
    };
    if node.address != address {
        return Err(refused(
            dir,
            &format!(
                "its node has the address {}, and {address} is wanted",
                node.address
            ),
        ));
    }
    Ok((node, cluster))
}

/// Refuses a file with which the server would not start.
fn check_nothing_else(dir: &Path) -> Result<(), Error> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::file(dir))? {
        let entry = entry.map_err(Error::file(dir))?;
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        let name = entry.file_name();
        let text = name.to_string_lossy();
        // The server accepts its socket, too.
        if !is_socket && !stays_beside_init(&text) {
            names.push(name.into());
        }
    }
    names.sort();
    match names.first() {
        Some(name) => Err(refused(
            dir,
            &format!("{name:?} is not of a new node: move it away"),
        )),
        None => Ok(()),
    }
}

fn check_init(dir: &Path, text: &str, address: &str) -> Result<(), Error> {
    let init: InitFile = serde_yaml::from_str(without_mark(text))
        .map_err(|error| refused(dir, &format!("init.yaml: {error}")))?;
    let others = init.cluster.iter();
    if init.address == address && others.filter(|o| *o != address).all(String::is_empty) {
        return Ok(());
    }
    Err(refused(
        dir,
        "its init.yaml says something else: move it away, or give the address that is in it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(dir: &Path) -> DatastoreRequest {
        DatastoreRequest {
            dir: dir.to_owned(),
            address: "10.0.0.1:9000".to_owned(),
            failure_domain: None,
        }
    }

    fn reason(dir: &Path, domain: Option<u64>) -> String {
        match survey(&request(dir), domain) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        }
    }

    #[test]
    fn a_new_directory_lacks_everything_and_init_yaml_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("none"), dir.path().to_owned()] {
            let survey = survey(&request(&path), Some(7)).unwrap();
            let pair = PemPair {
                certificate: "crt".to_owned(),
                key: "key".to_owned(),
            };
            let others = ["10.0.0.2:9000".to_owned()];
            let files = survey
                .missing(&request(&path), &pair, &others, Some(7))
                .unwrap();
            assert_eq!(
                files,
                [
                    ("cluster.key", "key".to_owned()),
                    ("cluster.crt", "crt".to_owned()),
                    ("failure-domain", "7".to_owned()),
                    (
                        "init.yaml",
                        "Address: 10.0.0.1:9000\nCluster:\n- 10.0.0.2:9000\n".to_owned()
                    ),
                ]
            );
        }
    }

    #[test]
    fn what_could_be_more_than_one_thing_is_refused() {
        let write = |dir: &Path, name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        for (files, domain, expected) in [
            (&[("cluster.crt", "x")][..], None, "only one of"),
            (
                &[("cluster.crt", "x"), ("cluster.key", "x")],
                None,
                "no certificate",
            ),
            (&[("notes", "x")], None, "\"notes\" is not of a new node"),
            (
                &[("init.yaml", "Address: 10.0.0.2:9000")],
                None,
                "says something else",
            ),
            (
                &[("init.yaml", "Address: 10.0.0.1:9000\nCluster: [a:1]")],
                None,
                "says something else",
            ),
            (&[("init.yaml", "[")], None, "init.yaml: "),
            (&[("failure-domain", "5")], Some(6), "6 is wanted"),
            (&[("metadata1", "x")], None, "without info.yaml"),
            (
                &[("metadata1", "x"), ("init.yaml", "Address: 10.0.0.1:9000")],
                None,
                "not finished",
            ),
            (&[("join", "")], None, "the file join"),
            (
                &[
                    ("info.yaml", "ID: 1\nAddress: 10.0.0.9:9000\nRole: 0\n"),
                    ("cluster.yaml", "[]\n"),
                ],
                None,
                "has the address 10.0.0.9:9000",
            ),
            (
                &[
                    ("info.yaml", "ID: 1\nAddress: 10.0.0.1:9000\nRole: 0\n"),
                    ("cluster.yaml", "[]\n"),
                ],
                None,
                "no cluster.crt",
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                write(dir.path(), name, text);
            }
            let told = reason(dir.path(), domain);
            assert!(told.contains(expected), "{files:?}: {told:?}");
        }
        let relative = survey(&request(Path::new("data")), None);
        assert!(relative.is_err_and(|error| error.status() == 400));
    }

    #[test]
    fn an_init_yaml_of_a_new_cluster_at_this_address_stays() {
        let dir = tempfile::tempdir().unwrap();
        let text = "Address: 10.0.0.1:9000\nCluster: ['', '10.0.0.1:9000']\n";
        fs::write(dir.path().join("init.yaml"), text).unwrap();
        fs::write(dir.path().join("failure-domain"), "5\n").unwrap();
        let survey = survey(&request(dir.path()), Some(5)).unwrap();
        assert!(survey.has_init && survey.has_failure_domain);
    }
}
