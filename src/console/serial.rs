//! The serial line: 115200 baud, 8 data bits, no parity, 1 stop bit, no flow control. A break arrives as a zero, which the editor
//! does not heed.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use tokio_serial::{DataBits, FlowControl, Parity, SerialPortBuilderExt, SerialStream, StopBits};

use super::{AgentLink, Console, End, Host, serve};

const BAUD: u32 = 115_200;
/// Wait before a line that failed, or is not there, is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(2);

/// Holds conversations over a serial line for ever; opens it again when it fails.
pub async fn serve_serial<H: Host, A: AgentLink>(tty: &Path, console: &Console<H, A>) -> Infallible {
    let mut told = String::new();
    // Ends with the program: a box without its serial line may have it again.
    loop {
        let trouble = match open(tty) {
            Ok(line) => match serve(line, console).await {
                End::Left => continue,
                End::Gone(error) => format!("the serial line failed: {error}"),
            },
            Err(error) => format!("the serial line cannot be opened: {error}"),
        };
        if trouble != told {
            tracing::warn!(tty = %tty.display(), "{trouble}; it is tried again every {} s", REOPEN_AFTER.as_secs());
            told = trouble;
        }
        tokio::time::sleep(REOPEN_AFTER).await;
    }
}

fn open(tty: &Path) -> tokio_serial::Result<SerialStream> {
    tokio_serial::new(tty.to_string_lossy(), BAUD)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None)
        .open_native_async()
}
