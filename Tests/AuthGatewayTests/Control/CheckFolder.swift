import GatewayConfig
import Glibc
import Testing

@testable import AuthGateway

/// A folder with a configuration and real certificates beside it, made by the `openssl` program.
final class CheckFolder {
    struct Failure: Error {}

    let path: String

    init() throws {
        var template = Array("/tmp/gateway-check-XXXXXX".utf8CString)
        // `mkdtemp` writes into the array and nowhere else; the array ends with NUL.
        guard unsafe mkdtemp(&template) != nil else { throw Failure() }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        for name in ["own", "other"] { try makeCertificate(name) }
    }

    deinit {
        guard let folder = unsafe opendir(path) else { return }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            // The name ends in NUL within the record, which lives until the next call.
            names.append(
                unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                    unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
                })
        }
        unsafe closedir(folder)
        for name in names { _ = unsafe unlink("\(path)/\(name)") }
        _ = unsafe rmdir(path)
    }

    /// What `auth-gateway check` says of this text.
    func check(_ text: String) throws -> [ConfigurationProblem] {
        try write("gateway.yaml", text)
        let file = "\(path)/gateway.yaml"
        return GatewayServer.check(ConfigurationLoader.load(path: file, environment: [:]), file: file)
    }

    /// The same as lines, without the folder's name.
    func lines(_ text: String) throws -> [String] {
        try check(text).map { $0.description.replacing("\(path)/", with: "") }
    }

    func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws {
        let descriptor = unsafe open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard descriptor >= 0 else { throw Failure() }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        // The bytes are a copy that outlives the call.
        let count = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard count == bytes.count, fchmod(descriptor, mode) == 0 else { throw Failure() }
    }

    /// Every name in the folder.
    var names: Set<String> {
        guard let folder = unsafe opendir(path) else { return [] }
        defer { unsafe closedir(folder) }
        var names: Set<String> = []
        while let entry = unsafe readdir(folder) {
            // As in `deinit`.
            names.insert(
                unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                    unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
                })
        }
        return names.subtracting([".", ".."])
    }

    private func makeCertificate(_ name: String) throws {
        let words = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
            "-subj", "/CN=check", "-keyout", "\(path)/\(name)-key.pem", "-out", "\(path)/\(name).pem",
        ]
        // Copies of the words, freed below; the list ends in NULL, and the call keeps none of them.
        let copies = unsafe words.map { unsafe strdup($0) }
        defer { unsafe copies.forEach { unsafe free($0) } }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var process: pid_t = 0
        var status: CInt = 0
        // `environ` is read while no test changes it.
        guard unsafe posix_spawnp(&process, words[0], &actions, nil, copies + [nil], environ) == 0,
            unsafe waitpid(process, &status, 0) == process, status == 0
        else { throw Failure() }
    }
}
