//! The steps of this node.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use dqlite::{
    files::FileError,
    tls::{Fingerprint, PemPair, Rotation, RotationStep, Tls, TlsError},
    wire::NodeId,
};
use openssl::x509::X509;
use peer_proto::{CertificateStep, CertificatesRequest, CertificatesResponse};
use tracing::info;

/// The reason to refuse a new pair that would let the former one in for good.
pub const STILL_TRUSTED: &str = "with the new pair nodes would go on to trust the former certificate, by an authority that is in the \
                                 new file; leave that out: the certificate alone will do";

/// The reason why a node does not make a step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Nothing was changed.
    #[error("{0}")]
    Refused(String),
    #[error("{0}; nothing was changed")]
    Pair(#[from] TlsError),
    /// The step may be asked for again.
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot read the pair: {0}")]
    Read(#[source] io::Error),
    #[error("cannot write the pair: {0}")]
    Write(#[source] io::Error),
}

/// The pair of this node, on its disk and for its connections.
#[derive(Debug)]
pub struct NodeCertificates {
    own_id: NodeId,
    dir: PathBuf,
    tls: Tls,
    /// One step at a time.
    turn: Mutex<()>,
}

impl NodeCertificates {
    pub fn new(own_id: NodeId, dir: PathBuf, tls: Tls) -> Self {
        Self {
            own_id,
            dir,
            tls,
            turn: Mutex::new(()),
        }
    }

    /// Makes a step, which may have been made before, and tells the state afterwards. Reads and writes files.
    pub fn make(&self, request: CertificatesRequest) -> Result<CertificatesResponse, StepError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let rotation = Rotation::read(&self.dir)?;
        if request.step() != CertificateStep::None
            && let Some(rotation) = &rotation
            && rotation.is_foreign(&self.dir).map_err(StepError::Read)?
        {
            return Err(refused(
                "cluster.key was replaced by hand since this node was started: delete cluster-rotation.yaml there, and \
                 start it again",
            ));
        }
        match request.step() {
            CertificateStep::None => {}
            CertificateStep::Trust => self.trust(rotation, request)?,
            CertificateStep::Use => self.use_new(rotation, &request)?,
            CertificateStep::Drop => self.drop_former(rotation, &request)?,
            CertificateStep::Cancel => self.cancel(rotation, &request)?,
        }
        self.tell()
    }

    fn tell(&self) -> Result<CertificatesResponse, StepError> {
        let shown = self.tls.shown();
        let files = PemPair::read(&self.dir).map_err(StepError::Read)?;
        let in_use = files.open("cluster.crt")?;
        let (not_before_s, not_after_s) = in_use.valid_s().map_err(TlsError::Refused)?;
        let mut told = CertificatesResponse {
            member_id: self.own_id.number(),
            shown: shown.to_bytes(),
            trusted: self.tls.trusted().iter().map(|it| it.to_bytes()).collect(),
            not_before_s,
            not_after_s,
            hindrance: dqlite::tls::hindrance(&self.dir).unwrap_or_default(),
            ..CertificatesResponse::default()
        };
        if let Some(rotation) = Rotation::read(&self.dir)? {
            let (new, former) = fingerprints(&rotation)?;
            // What connections have counts: a step whose files could not all be written is not made.
            let step = match shown == new {
                true => CertificateStep::Use,
                false => CertificateStep::Trust,
            };
            told.set_step(step);
            told.new = new.to_bytes();
            told.former = former.to_bytes();
        }
        Ok(told)
    }

    fn trust(
        &self,
        rotation: Option<Rotation>,
        request: CertificatesRequest,
    ) -> Result<(), StepError> {
        let shown = self.tls.shown();
        let wanted = Fingerprint::new(request.new);
        if let Some(rotation) = rotation {
            let (new, _) = fingerprints(&rotation)?;
            if new != wanted {
                return Err(refused(format_args!(
                    "this node is on its way to another pair, {new}: finish that, or cancel it"
                )));
            }
            rotation.settle(&self.dir).map_err(StepError::Write)?;
            return Ok(self.tls.replace(&rotation.files().open("cluster.crt")?)?);
        }
        if shown == wanted {
            return Ok(());
        }
        if shown != Fingerprint::new(request.former) {
            return Err(refused(format_args!(
                "this node shows another certificate than the others, {shown}"
            )));
        }
        let new = PemPair {
            certificate: request.certificate,
            key: request.key,
        };
        let pair = new.open("the new pair")?;
        let (begins_s, ends_s) = pair.valid_s().map_err(TlsError::Refused)?;
        if pair.fingerprint() != wanted || !(begins_s..ends_s).contains(&now_s()) {
            return Err(refused(
                "the new certificate is not valid by the clock of this node",
            ));
        }
        let former = PemPair::read(&self.dir).map_err(StepError::Read)?;
        let former_pair = former.open("cluster.crt")?;
        if former_pair.fingerprint() != shown {
            return Err(refused(
                "cluster.crt and cluster.key were replaced since this node was started: start it again first",
            ));
        }
        if pair.lets_in(&former_pair)? {
            return Err(refused(STILL_TRUSTED));
        }
        let rotation = Rotation {
            step: RotationStep::Trust,
            new,
            former,
        };
        // Before anything is written: a file that is not read again would keep this node from its next start.
        if !rotation.is_readable() {
            return Err(refused(
                "the new pair and the former one have more than 1 MiB together: leave out of the new certificate's file what \
                 is not of its chain",
            ));
        }
        let both = rotation
            .files()
            .open("cluster.crt with the new certificate")?;
        self.tls.check(&both)?;
        if let Err(error) = rotation.store(&self.dir) {
            Rotation::end(&self.dir, &rotation.former)?;
            return Err(StepError::Write(error));
        }
        self.tls.replace(&both)?;
        info!(new = %wanted, former = %shown, "this node trusts the new certificate of the cluster beside its own");
        Ok(())
    }

    fn use_new(
        &self,
        rotation: Option<Rotation>,
        request: &CertificatesRequest,
    ) -> Result<(), StepError> {
        let Some(mut rotation) = self.known(rotation, request)? else {
            return Ok(());
        };
        rotation.step = RotationStep::Use;
        let both = rotation.files().open("cluster.crt")?;
        self.tls.check(&both)?;
        if let Err(error) = rotation.store(&self.dir) {
            // The step is not made: a start must not make it, as others may go back meanwhile.
            rotation.step = RotationStep::Trust;
            rotation.store(&self.dir).map_err(StepError::Write)?;
            return Err(StepError::Write(error));
        }
        self.tls.replace(&both)?;
        info!(new = %self.tls.shown(), "this node shows the new certificate of the cluster");
        Ok(())
    }

    fn drop_former(
        &self,
        rotation: Option<Rotation>,
        request: &CertificatesRequest,
    ) -> Result<(), StepError> {
        let new = match self.known(rotation, request)? {
            Some(rotation) if self.tls.shown().bytes() == request.new => rotation.new,
            Some(_) => {
                return Err(refused("this node does not show the new certificate yet"));
            }
            None => self.without(&request.former)?,
        };
        let pair = new.open("the new pair")?;
        self.tls.check(&pair)?;
        Rotation::end(&self.dir, &new)?;
        self.tls.replace(&pair)?;
        info!(new = %self.tls.shown(), "this node trusts the former certificate of the cluster no more");
        Ok(())
    }

    /// Returns the pair of a node that was begun with files of another that was on its way, and so trusts both.
    fn without(&self, former: &[u8]) -> Result<PemPair, StepError> {
        let files = PemPair::read(&self.dir).map_err(StepError::Read)?;
        let certificates = X509::stack_from_pem(files.certificate.as_bytes());
        let mut certificate = String::new();
        // The former one comes last, with its chain, which would let it in.
        let certificates = certificates.map_err(TlsError::Refused)?.into_iter();
        for kept in certificates.take_while(|it| Fingerprint::of(it).bytes() != former) {
            let pem = kept.to_pem().map_err(TlsError::Refused)?;
            certificate += &String::from_utf8_lossy(&pem);
        }
        Ok(PemPair {
            certificate,
            key: files.key,
        })
    }

    fn cancel(
        &self,
        rotation: Option<Rotation>,
        request: &CertificatesRequest,
    ) -> Result<(), StepError> {
        let Some(mut rotation) = rotation else {
            return Ok(());
        };
        let (new, _) = fingerprints(&rotation)?;
        if new.bytes() != request.new || self.tls.shown() == new {
            return Err(refused(
                "this node is on its way to another pair, or shows the new one",
            ));
        }
        if rotation.step == RotationStep::Use {
            // Its files could not all be written. Whatever ends this in between, a start does not go on with that step.
            rotation.step = RotationStep::Trust;
            rotation.store(&self.dir).map_err(StepError::Write)?;
        }
        let pair = rotation.former.open("the former pair")?;
        Rotation::end(&self.dir, &rotation.former)?;
        self.tls.replace(&pair)?;
        info!("the replacement of the cluster's pair is cancelled on this node");
        Ok(())
    }

    /// Returns the rotation that a step is about; none if it has ended here.
    fn known(
        &self,
        rotation: Option<Rotation>,
        request: &CertificatesRequest,
    ) -> Result<Option<Rotation>, StepError> {
        let Some(rotation) = rotation else {
            return match self.tls.shown().bytes() == request.new {
                true => Ok(None),
                false => Err(refused("this node does not trust the new certificate yet")),
            };
        };
        match fingerprints(&rotation)?.0.bytes() == request.new {
            true => Ok(Some(rotation)),
            false => Err(refused("this node is on its way to another pair")),
        }
    }
}

fn fingerprints(rotation: &Rotation) -> Result<(Fingerprint, Fingerprint), TlsError> {
    let new = rotation.new.open("the new pair")?.fingerprint();
    let former = rotation.former.open("the former pair")?.fingerprint();
    Ok((new, former))
}

fn refused(reason: impl ToString) -> StepError {
    StepError::Refused(reason.to_string())
}

fn now_s() -> i64 {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_secs().cast_signed()
}
