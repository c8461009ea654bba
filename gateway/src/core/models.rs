//! Registering baseline models.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};

use konclave_crypto::Digest;
use konclave_crypto::encoding::MAX_COORDINATES;
use konclave_ledger::records::Record;
use konclave_openapi::models::{ModelManifest, NewModel};

use super::statements::field;
use super::{App, Caller, CommandError, EVALUATORS_ONLY, Entry};
use crate::error::ApiError;
use crate::projections::{to_digest, to_hash};

impl App {
    /// Registers a model whose blobs were uploaded by the same organisation; its id. The same model again changes
    /// nothing.
    ///
    /// # Errors
    /// [`ApiError`] names the field at fault; nothing was registered.
    pub async fn register_model(
        &self,
        caller: &Caller,
        organisation: &str,
        new: NewModel,
    ) -> Result<Digest, ApiError> {
        if !(1..=120).contains(&new.name.chars().count()) || new.name.contains(char::is_control) {
            return Err(refuse("/name", "must have 1 to 120 printable characters"));
        }
        check_manifest(&new.manifest)?;
        self.check_blobs(organisation, &new.manifest).await?;
        let value = serde_json::to_value(&new.manifest).map_err(CommandError::from)?;
        let manifest = self.document(value).await?;
        let model = to_digest(&manifest.digest);
        let held = self.lock("models").await;
        if let Some(known) = self.state().model(&model) {
            if known.organisation == organisation && known.name == new.name {
                return Ok(model);
            }
            return Err(ApiError::conflict(
                "a model with this manifest is registered under another name or by another organisation",
            ));
        }
        self.repeated(caller)?;
        let record = Record::ModelRegistered {
            model: manifest.digest,
            name: new.name,
            organisation: organisation.to_owned(),
            coordinates: new.manifest.coordinates,
            heads: new.manifest.heads,
            initial_parameters: to_hash(&new.manifest.initial_parameters),
            torchscript: to_hash(&new.manifest.torchscript),
            manifest,
        };
        let entry = Entry::new(format!("models/{model}"), "registered by its developer", record)
            .changing(None, Some(to_hash(&model)));
        self.append_one(&held, caller, entry).await?;
        Ok(model)
    }

    async fn check_blobs(&self, organisation: &str, manifest: &ModelManifest) -> Result<(), ApiError> {
        let (app, manifest, organisation) = (self.clone(), manifest.clone(), organisation.to_owned());
        tokio::task::spawn_blocking(move || {
            for (at, digest) in [
                ("/manifest/torchscript", manifest.torchscript),
                ("/manifest/initial_parameters", manifest.initial_parameters),
            ] {
                if !app.blobs().exists(&digest) || !app.blobs().owners(&digest)?.contains(&organisation) {
                    return Err(refuse(
                        at,
                        "is not a blob that your organisation uploaded; PUT /v1/blobs/{digest} or POST /v1/uploads first",
                    ));
                }
            }
            // The sites of every job on this model read them, whatever round made the same bytes before.
            for digest in [manifest.torchscript, manifest.initial_parameters] {
                app.blobs().release(&digest, EVALUATORS_ONLY)?;
            }
            check_parameters(
                File::open(app.blobs().path(&manifest.initial_parameters))?,
                manifest.coordinates,
            )
        })
        .await
        .map_err(ApiError::internal)?
    }
}

fn refuse(at: &str, detail: &str) -> ApiError {
    ApiError::rejected_at(format!("the model is refused: {at} {detail}"), vec![field(at, detail)])
}

fn check_manifest(manifest: &ModelManifest) -> Result<(), ApiError> {
    let mut names = BTreeSet::new();
    let mut last = "";
    let mut coordinates = 0_u64;
    for (index, tensor) in manifest.parameters.iter().enumerate() {
        let at = |part: &str| format!("/manifest/parameters/{index}/{part}");
        if tensor.name.is_empty() || !names.insert(&tensor.name) || tensor.name.as_str() < last {
            return Err(refuse(&at("name"), "must be named once, and the tensors sorted by name"));
        }
        last = &tensor.name;
        let size = tensor
            .shape
            .iter()
            .try_fold(1_u64, |size, side| size.checked_mul(*side))
            .filter(|size| *size > 0);
        let sum = size.and_then(|size| coordinates.checked_add(size)).filter(|sum| *sum < MAX_COORDINATES);
        coordinates =
            sum.ok_or_else(|| refuse(&at("shape"), "must hold at least one and below 2^32 coordinates"))?;
    }
    if coordinates == 0 || coordinates != manifest.coordinates {
        return Err(refuse(
            "/manifest/coordinates",
            &format!("must be the sum of the tensors' sizes, {coordinates}"),
        ));
    }
    if manifest.heads == 0 {
        return Err(refuse("/manifest/heads", "must be at least 1"));
    }
    Ok(())
}

/// A parameter vector has 4 bytes for each coordinate, and no coordinate is infinite or not a number.
fn check_parameters(file: File, coordinates: u64) -> Result<(), ApiError> {
    let at = "/manifest/initial_parameters";
    let (found, expected) = (file.metadata()?.len(), coordinates.saturating_mul(4));
    if found != expected {
        return Err(refuse(at, &format!("has {found} bytes; {coordinates} coordinates make {expected}")));
    }
    match first_not_finite(BufReader::with_capacity(1 << 16, file))? {
        Some(index) => Err(refuse(at, &format!("coordinate {index} is not a finite number"))),
        None => Ok(()),
    }
}

fn first_not_finite(mut reader: impl Read) -> io::Result<Option<u64>> {
    let mut word = [0; 4];
    let mut index = 0;
    loop {
        match reader.read_exact(&mut word) {
            Ok(()) if f32::from_le_bytes(word).is_finite() => index += 1,
            Ok(()) => return Ok(Some(index)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use konclave_openapi::models::ParameterTensor;

    fn manifest(tensors: &[(&str, &[u64])], coordinates: u64) -> ModelManifest {
        let tensor = |(name, shape): &(&str, &[u64])| ParameterTensor {
            name: (*name).to_owned(),
            shape: shape.to_vec(),
        };
        ModelManifest {
            parameters: tensors.iter().map(tensor).collect(),
            coordinates,
            heads: 1,
            torchscript: Digest::of(b"t"),
            initial_parameters: Digest::of(b"p"),
        }
    }

    #[test]
    fn a_manifest_must_add_up() {
        assert!(check_manifest(&manifest(&[("a", &[2, 3]), ("b", &[])], 7)).is_ok());
        for (bad, names) in [
            (manifest(&[("a", &[2, 3])], 5), "coordinates"),
            (manifest(&[("b", &[1]), ("a", &[1])], 2), "/1/name"),
            (manifest(&[("a", &[1]), ("a", &[1])], 2), "/1/name"),
            (manifest(&[("a", &[0])], 0), "/0/shape"),
            (manifest(&[("a", &[u64::MAX, 2])], 2), "/0/shape"),
            (manifest(&[], 0), "coordinates"),
        ] {
            let refused = check_manifest(&bad).unwrap_err().to_string();
            assert!(refused.contains(names), "{refused}");
        }
    }

    #[test]
    fn a_parameter_that_is_not_finite_is_found() {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(first_not_finite(&bytes(&[0.0, -1.5])[..]).unwrap(), None);
        assert_eq!(first_not_finite(&bytes(&[0.0, f32::NAN])[..]).unwrap(), Some(1));
        assert_eq!(first_not_finite(&bytes(&[f32::INFINITY])[..]).unwrap(), Some(0));
    }
}
