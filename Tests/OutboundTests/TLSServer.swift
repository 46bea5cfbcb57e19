import Glibc

/// A TLS server with a certificate of its own making for `127.0.0.1`, run by the `openssl` program.
final class TLSServer {
    struct Failure: Error {}

    let port: UInt16
    /// PEM file of the certificate, which is its own authority.
    let certificate: String
    private let directory: String
    private let process: pid_t
    private let input: CInt

    init() throws {
        var template = Array("/tmp/outbound-tls-XXXXXX".utf8CString)
        // The array is the function's to change, and ends in NUL.
        guard unsafe mkdtemp(&template) != nil else { throw Failure() }
        let directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        self.directory = directory
        certificate = directory + "/certificate.pem"
        let key = directory + "/key.pem"
        let made = try TLSServer.spawn([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
            "-subj", "/CN=outbound", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
        ])
        var status: CInt = 0
        _ = try TLSServer.text(of: made.output) { _ in false }
        guard unsafe waitpid(made.process, &status, 0) == made.process, status == 0 else { throw Failure() }
        close(made.input)
        let server = try TLSServer.spawn([
            "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", key, "-www",
        ])
        process = server.process
        input = server.input
        let text = try TLSServer.text(of: server.output) { $0.contains("ACCEPT 127.0.0.1:") && $0.hasSuffix("\n") }
        guard let digits = text.split(separator: "ACCEPT 127.0.0.1:").last?.prefix(while: \.isNumber),
            let port = UInt16(digits)
        else { throw Failure() }
        self.port = port
    }

    deinit {
        kill(process, SIGKILL)
        // Nothing is to be learnt from how it ended.
        _ = waitpid(process, nil, 0)
        close(input)
        for name in ["/certificate.pem", "/key.pem"] { unsafe unlink(directory + name) }
        unsafe rmdir(directory)
    }

    private static func spawn(_ words: [String]) throws -> (process: pid_t, input: CInt, output: CInt) {
        var toChild: [CInt] = [0, 0]
        var fromChild: [CInt] = [0, 0]
        guard unsafe pipe(&toChild) == 0, unsafe pipe(&fromChild) == 0 else { throw Failure() }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        // A socket of another test that lived on in the child would not be closed when that test closes it.
        for descriptor in 3..<CInt(256) { unsafe posix_spawn_file_actions_addclose(&actions, descriptor) }
        // Copies of the words, freed below; the list ends in NULL, and the call keeps none of them.
        let copies = unsafe words.map { unsafe strdup($0) }
        defer { unsafe copies.forEach { unsafe free($0) } }
        var process: pid_t = 0
        // `environ` is read while no test changes it.
        let code = unsafe posix_spawnp(&process, words[0], &actions, nil, copies + [nil], environ)
        close(toChild[0])
        close(fromChild[1])
        guard code == 0 else { throw Failure() }
        return (process, toChild[1], fromChild[0])
    }

    /// What comes until `isEnough` or the end; the rest is not read, which suits a program that goes on to say little.
    private static func text(of output: CInt, until isEnough: (String) -> Bool) throws -> String {
        var bytes: [UInt8] = []
        while true {
            var byte: UInt8 = 0
            guard unsafe read(output, &byte, 1) == 1 else { break }
            bytes.append(byte)
            let text = String(decoding: bytes, as: UTF8.self)
            if isEnough(text) { return text }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
