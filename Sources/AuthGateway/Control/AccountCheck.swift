import CLinux
import EventLoop
import GatewayConfig
import Glibc
import Synchronization

/// The account that `user:` names, as the system knows it.
struct Account: Sendable {
    let name: String
    let user: uid_t
    let group: gid_t
    let groupName: String
    /// Every group of the account.
    let groups: [gid_t]

    /// Why an account is none to become, and what to do about it.
    struct Refusal: Error, CustomStringConvertible {
        let message: String
        let cure: String

        var description: String { "\(message); \(cure)" }
    }

    /// Looks the names up.
    init(_ names: GatewayConfiguration.RunAs) throws(Refusal) {
        // The record is the library's until the next call; its numbers are copied at once.
        guard let record = unsafe getpwnam(names.user) else {
            throw Refusal(message: "there is no account '\(names.user)'", cure: "create it, or name another one")
        }
        let user = unsafe record.pointee.pw_uid
        var group = unsafe record.pointee.pw_gid
        if let name = names.group {
            guard let entry = unsafe getgrnam(name) else {
                throw Refusal(message: "there is no group '\(name)'", cure: "create it, or leave the group out")
            }
            group = unsafe entry.pointee.gr_gid
        }
        guard user != 0 else {
            throw Refusal(message: "'\(names.user)' is root", cure: "name an unprivileged account")
        }
        self.name = names.user
        self.user = user
        self.group = group
        // As above: copied at once.
        groupName = unsafe getgrgid(group).map { unsafe String(cString: $0.pointee.gr_name) } ?? "\(group)"
        var groups = [gid_t](repeating: 0, count: 1024)
        var count = CInt(groups.count)
        // The list has `count` places; the call says how many it filled.
        let isComplete = unsafe getgrouplist(names.user, group, &groups, &count) >= 0
        self.groups = isComplete ? Array(groups.prefix(Int(count))) : [group]
    }

    /// Runs `body` with this account's rights to files, on a thread of its own: the rest of the process keeps those it
    /// has. `nil` where the process may not do so.
    func perform<Value: Sendable>(_ body: @escaping @Sendable () -> Value) -> Value? {
        let box = Box<Value>()
        do throws(SystemError) {
            let thread = try LoopThread(name: "account") { [self] in
                var list = groups
                // Linux keeps these for each thread; the thread ends with them.
                guard unsafe clinux_thread_groups(&list, list.count) == 0 else { return }
                clinux_thread_file_group(group)
                guard clinux_thread_file_user(user) == 0 else { return }
                box.value.withLock { $0 = body() }
            }
            thread.join()
        } catch {
            return nil
        }
        return box.value.withLock { $0 }
    }

    private final class Box<Value: Sendable>: Sendable {
        let value = Mutex<Value?>(nil)
    }
}

extension Account? {
    /// Opens what listens at an address. The file of a Unix socket is made with the account's rights and is its own, as it
    /// will be at a reload; ports are opened with those of the start.
    func perform<Value: Sendable>(
        for address: GatewayConfiguration.SocketAddress, _ open: @escaping @Sendable () throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        guard let account = self, case .unix(let path) = address else { return try open() }
        let result = account.perform { Result { () throws(SystemError) in try open() } }
        guard let result else { throw SystemError("become '\(account.name)' to make \(path)", code: EPERM) }
        return try result.get()
    }
}

/// Whether the gateway can go on as the account that `user:` names: each reload reads its files with that account's
/// rights alone, so that a key only root may read would serve until the first reload, and never be renewed.
struct AccountCheck {
    let problems: [ConfigurationProblem]

    init(_ parts: ConfigurationParts, file: String) {
        guard let named = parts.account else {
            problems = []
            return
        }
        func problem(
            _ severity: ConfigurationProblem.Severity, _ message: String, cure: String, at location: SourceLocation
        ) -> ConfigurationProblem {
            ConfigurationProblem(severity: severity, file: file, location: location, message: message, cure: cure)
        }
        let account: Account
        do throws(Account.Refusal) {
            account = try Account(named.names)
        } catch {
            problems = [
                problem(geteuid() == 0 ? .error : .warning, error.message, cure: error.cure, at: named.location)
            ]
            return
        }
        guard geteuid() == 0 else {
            let isIt = geteuid() == account.user
            problems =
                isIt
                ? []
                : [
                    problem(
                        .warning, "only root can become '\(account.name)', and this process is user \(geteuid())",
                        cure: "start the gateway as root, or as that user and without this setting",
                        at: named.location)
                ]
            return
        }
        let files = parts.filesRead
        let refused = account.perform {
            files.filter { file in
                // Opened and closed; the path is text that outlives the call.
                let descriptor = unsafe open(file.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                if descriptor >= 0 { close(descriptor) }
                return descriptor < 0
            }
        }
        guard let refused else {
            problems = [
                problem(
                    .warning,
                    "this process may not try files with the rights of '\(account.name)', so that none was tried",
                    cure: "see that the account may read the configuration and every file that it names, and give "
                        + "the process CAP_SETUID and CAP_SETGID", at: named.location)
            ]
            return
        }
        problems = refused.map { file in
            problem(
                .error,
                "'\(account.name)', whom the gateway becomes, may not read '\(file.path)', and every reload would fail",
                cure: "run: chgrp \(account.groupName) '\(file.path)' && chmod g+r '\(file.path)' (or setfacl -m u:"
                    + "\(account.name):r), and see that the account may enter its folders; or start as that account, "
                    + "with systemd's LoadCredential= for the keys",
                at: file.location)
        }
    }
}
