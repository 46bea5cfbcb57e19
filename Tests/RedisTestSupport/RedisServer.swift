internal import EventLoop
internal import Glibc
package import Redis
internal import Synchronization

/// A real Redis of one test's own, on a free loopback port and a Unix socket, without anything on disk.
package final class RedisServer: Sendable {
    package let port: UInt16
    package let socketPath: String
    private let directory: String
    private let arguments: [String]
    private let running = Mutex<Running?>(nil)

    package struct Problem: Error, CustomStringConvertible {
        package let description: String
    }

    /// The shell that holds the server; it kills the server when its input ends, thus also when this process dies.
    private struct Running {
        let shell: pid_t
        let input: CInt
    }

    package init(_ arguments: String...) throws {
        var template = Array("/tmp/redis-test-XXXXXX".utf8CString)
        // NUL-terminated and writable, as mkdtemp wants it.
        guard unsafe mkdtemp(&template) != nil else {
            throw Problem(description: "mkdtemp: errno \(errno)")
        }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        socketPath = directory + "/redis.sock"
        self.arguments = arguments
        port = try FakeServer.freePort()
        try start()
    }

    deinit {
        stop()
        _ = unsafe unlink(socketPath)
        _ = unsafe rmdir(directory)
    }

    package var overTCP: RedisSettings {
        get throws {
            guard let address = RedisAddress(ip: "127.0.0.1", port: port) else {
                throw Problem(description: "no address")
            }
            return RedisSettings(addresses: [address])
        }
    }

    package var overUnixSocket: RedisSettings {
        get throws {
            guard let address = RedisAddress(unixPath: socketPath) else { throw Problem(description: "no address") }
            return RedisSettings(addresses: [address])
        }
    }

    package func stop() {
        let was = running.withLock { running in
            defer { running = nil }
            return running
        }
        guard let was else { return }
        close(was.input)
        var status: CInt = 0
        // Our own child, which ends with its input.
        _ = unsafe waitpid(was.shell, &status, 0)
    }

    /// Starts the server again at the same addresses; it has forgotten everything.
    package func start() throws {
        let script = """
            command -v redis-server >/dev/null || exit 127
            redis-server "$@" & server=$!
            exec >&-
            read -r nothing
            kill -9 $server
            wait $server
            """
        let words =
            ["sh", "-c", script, "sh", "--port", "\(port)", "--bind", "127.0.0.1", "--unixsocket", socketPath]
            + ["--dir", directory, "--save", "", "--appendonly", "no", "--daemonize", "no"] + arguments
        let (input, output, shell) = try RedisServer.spawn(words)
        defer { close(output) }
        running.withLock { $0 = Running(shell: shell, input: input) }
        // Two lines say so, one for each address.
        var text = ""
        var chunk = [UInt8](repeating: 0, count: 4096)
        while text.split(separator: "eady to accept connections", omittingEmptySubsequences: false).count < 3 {
            let count = unsafe read(output, &chunk, chunk.count)
            guard count > 0 else {
                stop()
                throw Problem(
                    description: text.isEmpty
                        ? "redis-server is not in PATH: install it (Debian: apt-get install redis-server)"
                        : "redis-server did not start: \(text)")
            }
            text += String(decoding: chunk[..<count], as: UTF8.self)
        }
    }

    /// One at a time: a pipe that another child inherits never comes to its end.
    private static let spawning = Mutex(())

    private static func spawn(_ words: [String]) throws -> (input: CInt, output: CInt, child: pid_t) {
        try spawning.withLock { _ in try spawnAlone(words) }
    }

    private static func spawnAlone(_ words: [String]) throws -> (input: CInt, output: CInt, child: pid_t) {
        let (inputRead, inputWrite) = try makePipe()
        let (outputRead, outputWrite) = try makePipe()
        defer {
            close(inputRead)
            close(outputWrite)
        }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawn_file_actions_adddup2(&actions, inputRead, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, outputWrite, 1)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        // Threads of the test runner block signals, and a shell that inherits this never hears that its child ended.
        var attributes = posix_spawnattr_t()
        var signals = sigset_t()
        unsafe posix_spawnattr_init(&attributes)
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe posix_spawnattr_setflags(&attributes, CShort(POSIX_SPAWN_SETSIGMASK))
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // Copies that are freed below; posix_spawn reads them only during the call.
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { unsafe arguments.forEach { unsafe free($0) } }
        var child: pid_t = 0
        let code = unsafe posix_spawn(&child, "/bin/sh", &actions, &attributes, &arguments, environ)
        guard code == 0 else { throw Problem(description: "posix_spawn: error \(code)") }
        return (inputWrite, outputRead, child)
    }

    private static func makePipe() throws -> (read: CInt, write: CInt) {
        var ends: [CInt] = [0, 0]
        // Room for two descriptors.
        guard unsafe pipe(&ends) == 0 else { throw Problem(description: "pipe: errno \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }
}
