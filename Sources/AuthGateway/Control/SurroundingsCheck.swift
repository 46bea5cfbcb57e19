import GatewayConfig
import Glibc

/// What a start would run into beyond the configuration: the database, the access log's folder. Creates nothing.
///
/// What is wrong whoever starts the gateway is an error. What another user may do, or a service manager makes before the
/// start, is a warning.
struct SurroundingsCheck {
    let problems: [ConfigurationProblem]

    init(_ parts: ConfigurationParts, file: String) {
        let look: @Sendable () -> [ConfigurationProblem] = {
            let paths = PathCheck(file: file)
            return (parts.database.map(paths.database) ?? []) + (parts.accessLog.map(paths.log) ?? [])
                + (parts.bodyFolder.map(paths.bodyFolder) ?? [])
                + parts.sockets.flatMap(paths.socket)
        }
        let account = geteuid() == 0 ? parts.account.flatMap { try? Account($0.names) } : nil
        problems = account?.perform(look) ?? look()
    }
}

private struct PathCheck {
    let file: String

    func database(_ database: ConfigurationParts.File) -> [ConfigurationProblem] {
        guard status(database.path) != nil else { return folder(of: database, holding: "the database") }
        // Beside the file SQLite keeps its write-ahead log and that one's index.
        return [database.path, database.path + "-wal", database.path + "-shm"].compactMap { path in
            guard let status = status(path) else { return nil }
            guard status.st_mode & S_IFMT == S_IFREG else {
                return problem(.error, database, "'\(path)' is no regular file", cure: "name another one")
            }
            guard status.st_mode & 0o077 == 0 else {
                let mode = String(status.st_mode & 0o777, radix: 8)
                return problem(
                    .error, database, "others may read or write '\(path)' (mode 0\(mode))",
                    cure: "run: chmod 600 '\(path)'")
            }
            guard !mayUse(path, R_OK | W_OK) else { return nil }
            return problem(
                .warning, database, "this user may not write '\(path)'", cure: "give it to whom the gateway runs as")
        }
    }

    func log(_ log: ConfigurationParts.File) -> [ConfigurationProblem] {
        guard let status = status(log.path) else { return folder(of: log, holding: "the access log") }
        guard status.st_mode & S_IFMT != S_IFDIR else {
            return [problem(.error, log, "'\(log.path)' is a folder", cure: "name a file in it")]
        }
        guard !mayUse(log.path, W_OK) else { return [] }
        return [
            problem(
                .warning, log, "this user may not write '\(log.path)'", cure: "give it to whom the gateway runs as")
        ]
    }

    func bodyFolder(_ folder: ConfigurationParts.File) -> [ConfigurationProblem] {
        self.folder(folder.path, for: folder, holding: "bodies that are buffered")
    }

    func socket(_ socket: ConfigurationParts.File) -> [ConfigurationProblem] {
        if let status = status(socket.path), status.st_mode & S_IFMT != S_IFSOCK {
            return [
                problem(
                    .error, socket, "'\(socket.path)' is no socket", cure: "remove it, or choose another path")
            ]
        }
        return folder(of: socket, holding: "the socket")
    }

    /// The folder in which a file will be made.
    private func folder(of place: ConfigurationParts.File, holding what: String) -> [ConfigurationProblem] {
        let slash = place.path.lastIndex(of: "/")
        let path = slash.map { $0 == place.path.startIndex ? "/" : String(place.path[..<$0]) } ?? "."
        return folder(path, for: place, holding: what)
    }

    private func folder(
        _ path: String, for place: ConfigurationParts.File, holding what: String
    ) -> [ConfigurationProblem] {
        guard let status = status(path) else {
            return [
                problem(
                    .warning, place, "the folder '\(path)' for \(what) cannot be found",
                    cure: "make it, owned by whom the gateway runs as, or have systemd do so (StateDirectory=, "
                        + "LogsDirectory=, RuntimeDirectory=)")
            ]
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            return [problem(.error, place, "'\(path)' is no folder", cure: "name a file in a folder")]
        }
        guard !mayUse(path, W_OK | X_OK) else { return [] }
        return [
            problem(
                .warning, place, "this user may not make \(what) in '\(path)'",
                cure: "give the folder to whom the gateway runs as")
        ]
    }

    private func problem(
        _ severity: ConfigurationProblem.Severity, _ place: ConfigurationParts.File, _ message: String, cure: String
    ) -> ConfigurationProblem {
        ConfigurationProblem(severity: severity, file: file, location: place.location, message: message, cure: cure)
    }

    private func status(_ path: String) -> stat? {
        var status = stat()
        // `status` is a local that outlives the call.
        return unsafe stat(path, &status) == 0 ? status : nil
    }

    private func mayUse(_ path: String, _ rights: CInt) -> Bool {
        // With the thread's own rights to files, not those of who started the process.
        unsafe faccessat(AT_FDCWD, path, rights, AT_EACCESS) == 0
    }
}
