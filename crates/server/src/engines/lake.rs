//! The lake that a configuration names.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reckon_lake::{LakeOptions, LakePlace, S3Keys, S3Options, S3Versions};

use crate::config::{Config, Versions};
use crate::data_dir::{DataDir, remove};

/// Where it is. Nothing is asked of a bucket yet.
pub fn lake_place(config: &Config, dir: &DataDir) -> Result<LakePlace> {
    let url = config.lake.url.as_str();
    if url.starts_with("s3:") {
        return LakePlace::s3(&s3_options(config)?).context("lake");
    }
    let folder = match url.strip_prefix("file:") {
        Some(path) => dir.0.join(path.trim_start_matches("//")),
        None if url.is_empty() => dir.lake(),
        None => bail!("lake.url = {url:?}: must be \"\" or begin with file: or s3:"),
    };
    LakePlace::folder(&folder).with_context(|| format!("lake: {}", folder.display()))
}

/// Empties it, so that it can be written again. `incarnation` is higher than at every open before.
pub async fn clear_lake(config: &Config, dir: &DataDir, incarnation: u32) -> Result<()> {
    let place = lake_place(config, dir)?;
    if let Some(folder) = place.as_folder() {
        return remove(folder);
    }
    let options = LakeOptions::new(incarnation.into());
    tokio::task::spawn_blocking(move || reckon_lake::clear(&place, options)).await?.context("lake")
}

fn s3_options(config: &Config) -> Result<S3Options> {
    let told = &config.lake.s3;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let keys = some(&told.access_key_id).map(|access_key_id| S3Keys {
        access_key_id,
        secret_access_key: told.secret_access_key.0.clone(),
        session_token: some(&told.session_token.0),
    });
    Ok(S3Options {
        endpoint: some(&told.endpoint),
        region: told.region.clone(),
        keys,
        versions: match told.versions {
            Versions::Refused => S3Versions::Refused,
            Versions::Expire => S3Versions::Expire,
        },
        more: told.settings.pairs().context("lake.s3.settings")?.into_iter().collect(),
        request: Duration::from_millis(told.request_ms),
        deadline: Duration::from_millis(told.deadline_ms),
        ..S3Options::at(&config.lake.url).context("lake.url")?
    })
}
