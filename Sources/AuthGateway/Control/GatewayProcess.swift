import CLinux
import GatewayConfig
import Glibc

/// What the process asks of the kernel for itself.
enum GatewayProcess {
    /// Signals come to the control thread by descriptor; SIGPIPE is an error code of a send.
    static func blockSignals() {
        var set = signalSet
        _ = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        _ = signal(SIGPIPE, SIG_IGN)
    }

    static var signalSet: sigset_t {
        var set = sigset_t()
        _ = unsafe sigemptyset(&set)
        for number in [SIGHUP, SIGTERM, SIGINT, SIGUSR1] { _ = unsafe sigaddset(&set, number) }
        return set
    }

    /// Memory holds keys and sessions: no core file, and no other process of the user may look into it.
    static func forbidDumps() {
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        _ = unsafe setrlimit(__rlimit_resource_t(4), &none)
        _ = clinux_forbid_dumps()
    }

    /// Where large files may be made that nobody needs after a restart: in `/tmp` they may take memory.
    static func temporaryFolder(_ environment: [String: String]) -> String {
        if let named = environment["TMPDIR"], named.hasPrefix("/") { return named }
        // A path is read for the length of the call.
        return unsafe access("/var/tmp", W_OK | X_OK) == 0 ? "/var/tmp" : "/tmp"
    }

    static func checkUser(_ configuration: GatewayConfiguration, _ options: RunOptions) throws(StartError) {
        guard geteuid() == 0, configuration.user == nil, !options.isDevelopment else { return }
        throw StartError(
            "the gateway does not serve as root: name an unprivileged account with 'user:' in"
                + " \(options.configurationPath), or start it as one (the ports below 1024 then need"
                + " CAP_NET_BIND_SERVICE, see deploy/auth-gateway.service)")
    }

    /// The account that this process is to become; `nil` where it stays who it is.
    static func accountToBecome(_ names: GatewayConfiguration.RunAs?) throws(StartError) -> Account? {
        guard let names, geteuid() == 0 else { return nil }
        do throws(Account.Refusal) {
            return try Account(names)
        } catch {
            throw StartError("user: \(error)")
        }
    }

    /// Gives up root for the account, for good.
    static func become(_ account: Account) throws(StartError) {
        let isDone =
            unsafe initgroups(account.name, account.group) == 0 && setgid(account.group) == 0
            && setuid(account.user) == 0 && setuid(0) != 0
        guard isDone else { throw StartError("user: cannot become '\(account.name)'") }
        // setuid made the process dumpable again.
        _ = clinux_forbid_dumps()
        _ = clinux_no_new_privileges()
    }
}
