//! What the console asks of the machine beneath it, and not of the agent: the self-test, the network, a restart of all.

/// The machine.
pub trait Host: Send + Sync {
    /// Looks step by step whether the box can do its work, and stops at the first cause; each line of its report goes to `line`
    /// when it is known. With a printer, the last step reads it.
    ///
    /// # Errors
    /// What is wrong, in one sentence with its remedy.
    fn selftest(
        &self,
        printer: Option<&str>,
        line: &mut (dyn FnMut(String) + Send),
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Shows or changes the network of the box: the words after `network`; those of `dns` come after the word "dns". None shows
    /// how it is.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn network(&self, words: &[&str]) -> impl Future<Output = Result<String, String>> + Send;

    /// Starts the whole machine anew; says so, as it takes a moment.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn reboot(&self) -> impl Future<Output = Result<String, String>> + Send;
}

/// A machine that is not the box's own, as a developer's: nothing of it may be changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

const NOT_A_BOX: &str = "this program does not run on a box of its own, so that is left to the system it runs on";

impl Host for NoHost {
    async fn selftest(&self, _printer: Option<&str>, _line: &mut (dyn FnMut(String) + Send)) -> Result<(), String> {
        Err(NOT_A_BOX.to_owned())
    }

    async fn network(&self, _words: &[&str]) -> Result<String, String> {
        Err(NOT_A_BOX.to_owned())
    }

    async fn reboot(&self) -> Result<String, String> {
        Err(NOT_A_BOX.to_owned())
    }
}
