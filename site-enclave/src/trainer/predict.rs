//! Predictions of a model with given parameters.

use tch::{Device, TchError};

use super::device::with_libtorch;
use super::loss::dense;
use super::model::{ModelError, TorchScriptModel, reason};
use crate::features::Fingerprint;

/// Molecules predicted at once.
const BATCH: usize = 1_024;

/// The model's outputs for each molecule, in evaluation mode.
///
/// # Errors
/// [`ModelError`] when the parameters do not fit or the model fails.
pub fn predict(
    model: &TorchScriptModel,
    parameters: &[f32],
    fingerprints: &[&Fingerprint],
    device: Device,
) -> Result<Vec<Vec<f32>>, ModelError> {
    let failed = |error: TchError| ModelError::Forward { reason: reason(&error) };
    let heads = usize::from(model.manifest().heads).max(1);
    with_libtorch(|| {
        let mut loaded = model.load(parameters, device)?;
        loaded.module.f_set_eval().map_err(failed)?;
        let _no_grad = tch::no_grad_guard();
        let mut rows = Vec::with_capacity(fingerprints.len());
        for batch in fingerprints.chunks(BATCH) {
            let input = dense(batch.iter().copied(), device).map_err(failed)?;
            let outputs = loaded.module.forward_ts(&[input]).map_err(failed)?;
            let shape = outputs.size();
            let batch = i64::try_from(batch.len()).unwrap_or(i64::MAX);
            if shape != [batch, i64::from(model.manifest().heads)] {
                return Err(ModelError::OutputShape { batch, shape });
            }
            let flat = outputs
                .f_flatten(0, -1)
                .and_then(|flat| flat.f_to_kind(tch::Kind::Float)?.f_to_device(Device::Cpu))
                .and_then(Vec::<f32>::try_from)
                .map_err(failed)?;
            rows.extend(flat.chunks(heads).map(<[f32]>::to_vec));
        }
        Ok(rows)
    })
}
