//! What a program asks of a running cloud that a person does in its portal.

use std::path::Path;
#[cfg(feature = "sim")]
use std::sync::atomic::Ordering;
#[cfg(feature = "sim")]
use std::time::Duration;

use super::super::db::Database;
use super::super::{CloudError, RunningCloud, now_ms};

/// Who types, where nobody has logged in.
const ACCOUNT: &str = "program";

impl RunningCloud {
    /// What a box pins: this cloud's root, and the public half of the key by which it signs (PEM).
    #[must_use]
    pub fn pinned_pem(&self) -> &str {
        self.shared.authority.pinned_pem()
    }

    /// Types the code that a box shows, and wants it: its button is to be pressed then. An empty site: the box is alone, or stays
    /// where it was.
    ///
    /// # Errors
    /// In words, where no box shows the code, it is another tenant's, or name or site cannot be used.
    pub async fn approve(&self, user_code: &str, name: &str, site: &str) -> Result<(), CloudError> {
        let (database, now_ms) = (&self.shared.database, self.shared.now_ms());
        let found = super::find(database, ACCOUNT, user_code, now_ms).await?;
        Ok(super::approve(database, &found.enrolment.reference, name, site, now_ms).await?)
    }

    /// Waits for a box whose button is held; the window's name. Serial number and secret as they stand on the label.
    ///
    /// # Errors
    /// In words, where what was typed cannot be, or the box is another tenant's.
    pub async fn open_window(&self, serial: &str, secret: &str, name: &str, site: &str) -> Result<String, CloudError> {
        let (database, now_ms) = (&self.shared.database, self.shared.now_ms());
        Ok(super::open_window(database, serial, secret, name, site, now_ms).await?)
    }

    /// Says how often the LED of the box blinks. Whether that is right; if not, the window is closed.
    ///
    /// # Errors
    /// In words, where no box blinks for this window.
    pub async fn pick_number(&self, window: &str, number: u32) -> Result<bool, CloudError> {
        let (shared, now_ms) = (&self.shared, self.shared.now_ms());
        Ok(super::pick_number(&shared.database, &shared.authority, window, number, now_ms).await?)
    }

    /// Makes a one-off code for a console, "XXXX-XXXX-XXXX-XXXX": for one box within a day, perhaps only that with this serial number.
    ///
    /// # Errors
    /// In words, where site or serial number cannot be used.
    pub async fn make_registration_code(&self, site: &str, serial: Option<&str>) -> Result<String, CloudError> {
        Ok(super::make_code(&self.shared.database, site, "", serial, self.shared.now_ms()).await?)
    }

    /// Releases a box for good: it delivers what waits, forgets who it is, and may become another's. Whether there was such a box.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_box(&self, box_id: &str) -> Result<bool, CloudError> {
        Ok(self.shared.release_box(box_id).await?)
    }

    /// Allows a box whose certificate has ended to come back once more. Whether there is such a box.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn allow_recovery(&self, box_id: &str) -> Result<bool, CloudError> {
        Ok(super::allow_recovery(&self.shared.database, box_id, self.shared.now_ms()).await?)
    }

    /// The answer to the challenge at the console of a disabled box.
    ///
    /// # Errors
    /// In words, where the challenge is none, or the box has no unlock secret.
    pub async fn unlock_answer(&self, box_id: &str, challenge: &str) -> Result<String, CloudError> {
        Ok(super::unlock_answer(&self.shared.database, box_id, challenge, self.shared.now_ms()).await?)
    }

    /// Books a serial number for a tenant: the box is nobody else's until it is released. Whether it was free.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reserve_serial(&self, serial: &str, tenant: &str) -> Result<bool, CloudError> {
        Ok(super::reserve(&self.shared.database, serial, tenant, self.shared.now_ms()).await?)
    }

    /// What happened with a box, newest first: kind and words.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn box_events(&self, box_id: &str) -> Result<Vec<(String, String)>, CloudError> {
        Ok(self.shared.database.box_events(box_id).await?)
    }

    /// For trials: time goes by, for all that is decided by it about enrolments and polls; certificates keep their dates.
    #[cfg(feature = "sim")]
    pub fn pass(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.shared.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// For trials: what the cloud does of itself about once a minute.
    ///
    /// # Errors
    /// When the database fails.
    #[cfg(feature = "sim")]
    pub async fn tidy(&self) -> Result<(), CloudError> {
        Ok(super::finish_releases(&self.shared.database, self.shared.now_ms()).await?)
    }
}

impl super::super::Shared {
    /// Releases a box, and wakes it so that it learns so.
    pub(in crate::cloud) async fn release_box(&self, box_id: &str) -> Result<bool, super::EnrolError> {
        let is_new = super::mark_leaving(&self.database, box_id, self.now_ms()).await?;
        self.broker.wake(box_id);
        Ok(is_new)
    }
}

/// Makes a registration code with the cloud of a data folder; it may run meanwhile.
///
/// # Errors
/// As [`RunningCloud::make_registration_code`].
pub async fn registration_code(data_dir: &Path, site: &str, serial: Option<&str>) -> Result<String, CloudError> {
    let database = Database::open(data_dir).await?;
    let code = super::make_code(&database, site, "", serial, now_ms()).await;
    database.close().await;
    Ok(code?)
}
