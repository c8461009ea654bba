//! Where tensors live: the CPU, or a CUDA device when libtorch's CUDA half is loaded.
//!
//! The programs are linked to libtorch's CPU half only. The same binary uses a GPU when `libtorch_cuda.so` is in the
//! process before the first tensor is made. Loading a library at run time needs unsafe code, which this project forbids;
//! so a program that finds the CUDA half restarts itself once with `LD_PRELOAD`, which the system's loader honours.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tch::{Cuda, Device};

/// Names the folder of a full libtorch 2.11.0 with CUDA (`torch/lib` of the Python wheel).
pub const CUDA_FOLDER_VARIABLE: &str = "KONCLAVE_TORCH_CUDA";

/// Set for the restarted process, so that it does not restart again.
const RESTARTED: &str = "KONCLAVE_TORCH_CUDA_LOADED";

/// The CUDA half of libtorch.
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Why the CUDA half of libtorch could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// The folder does not hold it.
    #[error(
        "{CUDA_FOLDER_VARIABLE} is {folder}, but it has no {CUDA_LIBRARY}: name the folder torch/lib of a Python torch \
         2.11.0 with CUDA, or unset the variable to use the CPU"
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// The program could not be started again.
    #[error("cannot restart with {CUDA_LIBRARY}: {0}")]
    Restart(std::io::Error),
}

/// Makes CUDA available where [`CUDA_FOLDER_VARIABLE`] says so; does not return when it restarts the program.
///
/// Call it first in `main`, before threads and files are open.
///
/// # Errors
/// [`CudaError`] when the variable is set and of no use; without the variable nothing happens.
pub fn load_cuda_half() -> Result<(), CudaError> {
    let Some(folder) = env::var_os(CUDA_FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) else {
        return Ok(());
    };
    if env::var_os(RESTARTED).is_some() {
        return Ok(());
    }
    let folder = PathBuf::from(folder);
    let library = folder.join(CUDA_LIBRARY);
    if !library.exists() {
        return Err(CudaError::Missing { folder });
    }
    let program = env::current_exe().map_err(CudaError::Restart)?;
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command
        .args(arguments)
        .env(RESTARTED, "1")
        .env("LD_PRELOAD", prepended(library.as_os_str().to_owned(), "LD_PRELOAD"))
        .env("LD_LIBRARY_PATH", prepended(cuda_search_path(&folder), "LD_LIBRARY_PATH"))
        .exec();
    Err(CudaError::Restart(error))
}

/// The wheel's own folder and those of the CUDA libraries that lie beside it in `site-packages/nvidia`.
fn cuda_search_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    let packages = folder.parent().and_then(Path::parent).map(|site| site.join("nvidia"));
    let entries = packages.and_then(|packages| packages.read_dir().ok());
    for entry in entries.into_iter().flatten().flatten() {
        let libraries = entry.path().join("lib");
        if libraries.is_dir() {
            path.push(":");
            path.push(libraries);
        }
    }
    path
}

fn prepended(mut first: OsString, variable: &str) -> OsString {
    if let Some(rest) = env::var_os(variable).filter(|rest| !rest.is_empty()) {
        first.push(":");
        first.push(rest);
    }
    first
}

/// The device to train on: the first CUDA device if there is one, else the CPU.
#[must_use]
pub fn training_device() -> Device {
    with_libtorch(Device::cuda_if_available)
}

/// A device's name for people, for example `CUDA device 0 of 1` or `CPU, 1 thread`.
#[must_use]
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => "CPU, 1 thread".to_owned(),
        Device::Cuda(index) => format!("CUDA device {index} of {}", Cuda::device_count()),
        Device::Mps => "Metal".to_owned(),
        Device::Vulkan => "Vulkan".to_owned(),
    }
}

/// Runs work with libtorch, one at a time in a process: the random generator, the number of threads and the gradient
/// mode are global in libtorch, and a training run must depend on nothing but its inputs.
pub(super) fn with_libtorch<T>(work: impl FnOnce() -> T) -> T {
    static EXCLUSIVE: Mutex<()> = Mutex::new(());
    let _turn = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
    // Sums over several threads depend on their number; for models of this size one thread is also the fastest.
    // OpenMP keeps the setting for each calling thread, so it is made in each call.
    tch::set_num_threads(1);
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_for_people() {
        assert_eq!(device_name(Device::Cpu), "CPU, 1 thread");
        assert_eq!(training_device() == Device::Cpu, !Cuda::is_available());
    }

    #[test]
    fn cuda_packages_beside_the_wheel_are_searched() {
        let site = tempfile::tempdir().unwrap();
        let torch = site.path().join("torch/lib");
        let cudnn = site.path().join("nvidia/cudnn/lib");
        std::fs::create_dir_all(&torch).unwrap();
        std::fs::create_dir_all(&cudnn).unwrap();
        std::fs::create_dir_all(site.path().join("nvidia/empty")).unwrap();
        let expected = format!("{}:{}", torch.display(), cudnn.display());
        assert_eq!(cuda_search_path(&torch), OsString::from(expected));
    }
}
