import ArgumentParser
import AuthGateway
import GatewayConfig
import Glibc
import IdentityModel

/// `auth-gateway token …`.
struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Tokens of the gateway's own issuer.", subcommands: [Mint.self])

    /// `auth-gateway token mint`.
    struct Mint: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "mint", abstract: "Print a JWT for a user of the directory, for scripts and tests.")

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "The user's name or e-mail address.")
        var user: String

        @Option(help: "Scopes, separated by blanks; the user's roles must grant each. May be given more than once.")
        var scope: [String] = []

        @Option(help: "The audience, if not the one of identity.token_audience.")
        var audience: String?

        @Option(help: "Seconds the token lives, if not identity.token_lifetime; at most a day.")
        var lifetime: Int64?

        func run() throws {
            let (configuration, _) = try options.load()
            guard let scopes = Scope.list(scope.joined(separator: " ")) else {
                throw ValidationError("--scope holds what is no scope; write names like 'reports:read'")
            }
            do {
                print(
                    try IdentityCommands.mint(
                        configuration, user: user, scopes: scopes, audience: audience,
                        lifetime: lifetime.map { .seconds($0) }))
            } catch {
                throw Exit.refuse(error.description)
            }
        }
    }
}

/// `auth-gateway users …`.
struct UsersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "users", abstract: "Accounts of the directory.", subcommands: [Add.self])

    /// `auth-gateway users add`.
    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "add", abstract: "Add an account; its password is read from standard input, one line.")

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "The name to sign in with.")
        var username: String

        @Option(help: "The e-mail address, which may be used to sign in as well.")
        var email: String?

        @Option(name: .customLong("name"), help: "The name to show.")
        var displayName: String?

        @Option(help: "A role; may be given more than once.")
        var role: [String] = []

        func run() throws {
            let (configuration, _) = try options.load()
            let roles = try role.map { text in
                guard let role = Role(text) else { throw ValidationError("'\(text)' is no role name") }
                return role
            }
            let password = try PasswordInput.read()
            do {
                try IdentityCommands.addUser(
                    configuration, username: username, email: email, displayName: displayName ?? username,
                    roles: Set(roles), password: password)
                print("added \(username)")
            } catch {
                throw Exit.refuse(error.description)
            }
        }
    }
}

/// `auth-gateway hash-password`.
struct HashPasswordCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hash-password", abstract: "Read a password from standard input and print its Argon2id hash.")

    func run() throws {
        let password = try PasswordInput.read()
        do {
            print(try IdentityCommands.hash(password: password))
        } catch {
            throw Exit.refuse(error.description)
        }
    }
}

/// One line of standard input, without echo where a person types it.
enum PasswordInput {
    static func read() throws -> String {
        var saved = termios()
        let isTerminal = unsafe isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &saved) == 0
        if isTerminal {
            Exit.printError("Password:")
            var quiet = saved
            quiet.c_lflag &= ~tcflag_t(ECHO)
            _ = unsafe tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet)
        }
        defer { if isTerminal { _ = unsafe tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved) } }
        guard let line = readLine(strippingNewline: true), !line.isEmpty else {
            throw Exit.refuse("no password came; give one line on standard input")
        }
        return line
    }
}
