import ArgumentParser
import AuthGateway
import GatewayConfig
import Glibc
import Logging
import Telemetry

@main
struct AuthGatewayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "auth-gateway",
        abstract: "A reverse-proxy authentication gateway in front of applications that cannot defend themselves.",
        version: GatewayVersion.current,
        subcommands: [
            RunCommand.self, CheckCommand.self, PrintCommand.self, TokenCommand.self, UsersCommand.self,
            HashPasswordCommand.self, VersionCommand.self,
        ])

    /// Runs the command; wrong usage ends with 2, as it does with the programs that this one stands beside.
    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
            Exit.printError(fullMessage(for: error))
            Glibc.exit(2)
        }
    }
}

/// The version of this build.
enum GatewayVersion {
    static let current = "0.1.0"
}

/// Exit codes: 0 done, 1 refused, 2 wrong usage.
enum Exit {
    /// Prints a message for the operator and ends the command.
    static func refuse(_ message: String) -> ExitCode {
        printError(message)
        return ExitCode(1)
    }

    /// Writes to standard error.
    static func printError(_ text: String) {
        var line = text + "\n"
        line.withUTF8 { utf8 in
            // Within the string's bytes, which live for the call.
            _ = unsafe write(STDERR_FILENO, utf8.baseAddress, utf8.count)
        }
    }
}

/// Options that every command with a configuration has.
struct ConfigurationOptions: ParsableArguments {
    @Option(name: .long, help: "The configuration file.")
    var config = "gateway.yaml"

    /// Reads the file; prints every problem and ends the command if one is an error.
    func load() throws -> (GatewayConfiguration, ConfigurationResult) {
        let result = ConfigurationLoader.load(path: config, environment: ProcessEnvironment.all)
        guard let configuration = result.configuration else {
            throw Exit.refuse(result.problems.report)
        }
        return (configuration, result)
    }
}

/// The process's environment.
enum ProcessEnvironment {
    static var all: [String: String] {
        var variables: [String: String] = [:]
        var entry = unsafe environ
        // `environ` ends in a null pointer; nothing changes it after the start.
        while let text = unsafe entry.pointee {
            let pair = unsafe String(cString: text).split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if pair.count == 2 { variables[String(pair[0])] = String(pair[1]) }
            unsafe entry += 1
        }
        return variables
    }
}
