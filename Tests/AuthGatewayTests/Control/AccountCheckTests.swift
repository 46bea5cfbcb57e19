import Glibc
import Testing

@testable import AuthGateway
@testable import GatewayConfig

/// `user:` as root, with Debian's account `nobody` for the unprivileged one.
@Suite struct AccountCheckTests {
    private static let text = """
        user: nobody
        listeners:
          - { address: 127.0.0.1:8443, tls: { certificates: [{ certificate: own.pem, key: own-key.pem }] } }
        upstreams:
          app: { endpoints: [127.0.0.1:5001] }
        identity: { database: own.db }
        routes:
          - { path: /, upstream: app, public: true }
        """

    private func problems(_ folder: CheckFolder, _ text: String = Self.text) throws -> [ConfigurationProblem] {
        try folder.write("gateway.yaml", text, mode: 0o644)
        let file = "\(folder.path)/gateway.yaml"
        let parts = try #require(ConfigurationLoader.load(path: file, environment: [:]).parts)
        return AccountCheck(parts, file: file).problems
    }

    @Test(.enabled(if: geteuid() == 0, "only root becomes another user"))
    func `a key that the account cannot read is an error at its place, with a cure that helps`() throws {
        let folder = try CheckFolder()
        #expect(unsafe chmod(folder.path, 0o755) == 0)
        let found = try problems(folder)
        #expect(found.map(\.location.path) == ["listeners[0].tls.certificates[0].key"])
        #expect(found.map(\.severity) == [.error])
        let problem = try #require(found.first)
        #expect(
            problem.message.contains("'nobody', whom the gateway becomes, may not read '\(folder.path)/own-key.pem'"))
        let group = try Account(.init(user: "nobody", group: nil)).group
        #expect(problem.cure.contains("chgrp") && problem.cure.contains("LoadCredential="))
        #expect(unsafe chown("\(folder.path)/own-key.pem", 0, group) == 0)
        #expect(unsafe chmod("\(folder.path)/own-key.pem", 0o640) == 0)
        #expect(try problems(folder) == [])
    }

    @Test(.enabled(if: geteuid() == 0, "only root becomes another user"))
    func `a folder that the account cannot enter keeps it from every file`() throws {
        let folder = try CheckFolder()
        #expect(try problems(folder).count == 3, "the configuration, the certificate and the key")
    }

    @Test(.enabled(if: geteuid() == 0, "only root becomes another user"))
    func `the account's rights are those of one thread, and root stays root`() throws {
        let account = try Account(.init(user: "nobody", group: nil))
        let folder = try CheckFolder()
        let key = "\(folder.path)/own-key.pem"
        #expect(unsafe chmod(folder.path, 0o755) == 0)
        let refusal = account.perform { () -> CInt in
            // The path outlives the call.
            let descriptor = unsafe open(key, O_RDONLY)
            return descriptor < 0 ? errno : 0
        }
        #expect(refusal == EACCES)
        #expect(geteuid() == 0)
        let descriptor = unsafe open(key, O_RDONLY)
        #expect(descriptor >= 0)
        close(descriptor)
    }

    @Test(
        .enabled(if: geteuid() == 0, "only root becomes another user"),
        arguments: [
            ("no-such-account", "there is no account 'no-such-account'"), ("root", "'root' is root"),
            ("'nobody:no-such-group'", "there is no group 'no-such-group'"),
        ])
    func `an account that cannot be had is an error`(user: String, message: String) throws {
        let found = try problems(try CheckFolder(), Self.text.replacing("user: nobody", with: "user: \(user)"))
        #expect(found.map(\.severity) == [.error])
        #expect(found.map(\.location) == [.init(path: "user", line: 1, column: 7)])
        #expect(found.first?.message == message)
    }

    @Test(.enabled(if: geteuid() != 0, "root becomes the account"))
    func `not as root the setting does nothing, and says so`()
        throws
    {
        let found = try problems(try CheckFolder())
        #expect(found.map(\.severity) == [.warning])
        #expect(found.first?.message.contains("only root can become 'nobody'") == true)
    }
}
