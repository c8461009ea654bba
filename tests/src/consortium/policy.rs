//! Edits of generated settings files: values of known keys, everything else as the program wrote it.

use std::fs;
use std::path::Path;

use crate::error::HarnessError;

/// Sets `key = value` for top-level keys that the file already has, and keeps its comments.
///
/// # Errors
/// If the file cannot be read or written, or has no line for a key: a misspelt key must not be ignored.
pub fn set_keys(path: &Path, values: &[(&str, String)]) -> Result<(), HarnessError> {
    let text = fs::read_to_string(path).map_err(HarnessError::file("read", path))?;
    let changed = with_keys(&text, values).map_err(|key| {
        HarnessError::unexpected(path.display().to_string(), format!("there is no key `{key}`"))
    })?;
    fs::write(path, changed).map_err(HarnessError::file("write", path))
}

/// The text with the values, or the first key that is not in it.
fn with_keys<'k>(text: &str, values: &[(&'k str, String)]) -> Result<String, &'k str> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in values {
        let is_key = |line: &&mut String| line.split_once('=').is_some_and(|(name, _)| name.trim() == *key);
        let line = lines.iter_mut().find(is_key).ok_or(*key)?;
        *line = format!("{key} = {value}");
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_change_and_unknown_ones_are_refused() {
        let text = "# comment\nupload_seconds = 600 # ten minutes\nupload_seconds_more = 1\n[reward]\nbudget_micro = 5\n";
        let changed =
            with_keys(text, &[("upload_seconds", "20".into()), ("budget_micro", "7".into())]).unwrap();
        assert_eq!(
            changed,
            "# comment\nupload_seconds = 20\nupload_seconds_more = 1\n[reward]\nbudget_micro = 7\n"
        );
        assert_eq!(with_keys(text, &[("upload_second", "20".into())]), Err("upload_second"));
    }
}
