//! Links the programs and tests of this crate so that they find libtorch without `LD_LIBRARY_PATH`.
//!
//! A crate whose binaries or tests call tch needs the two `rpath` arguments below, because Cargo passes the
//! linker arguments of a library's build script to that library alone. The folder is read from `LIBTORCH`
//! (set by `.cargo/config.toml`), as torch-sys does; a direct dependency on torch-sys would give the same folder as
//! `DEP_TCH_LIBTORCH_LIB`, but only after torch-sys was built, and so never say below what is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    for variable in ["LIBTORCH", "LIBTORCH_LIB"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let libraries = libtorch_libraries();
    let library = libraries.join("libtorch_cpu.so");
    println!("cargo::rerun-if-changed={}", library.display());
    if !library.exists() {
        println!(
            "cargo::error=libtorch is missing: {} does not exist. Run `make setup` in the project's root, or \
             set LIBTORCH to the folder of a libtorch 2.11.0",
            library.display()
        );
        exit(1);
    }
    // Installed beside its libraries (bin/ and lib/), or run from the build tree.
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", libraries.display());
}

/// The folder of libtorch's shared libraries, as torch-sys finds it.
fn libtorch_libraries() -> PathBuf {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from);
    folder("LIBTORCH_LIB")
        .or_else(|| folder("LIBTORCH"))
        .map_or_else(|| Path::new("/usr/lib").to_path_buf(), |root| root.join("lib"))
}
