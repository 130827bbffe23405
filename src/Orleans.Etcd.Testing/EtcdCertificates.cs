using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Orleans.Etcd.Testing;

/// <summary>
/// A certificate authority of its own with a server and two client certificates, as PEM files in a directory.
/// </summary>
/// <example><code>var unrelated = EtcdCertificates.Create(directory); // a server signed by another authority trusts none of it</code></example>
/// <remarks>Immutable and thread safe. The keys are made for tests: they lie unencrypted in the directory.</remarks>
public sealed class EtcdCertificates
{
    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    private EtcdCertificates(string directory) => Directory = directory;

    /// <summary>The directory that holds the files.</summary>
    public string Directory { get; }

    /// <summary>The certificate of the authority.</summary>
    public string CaCertificateFile => Path.Combine(Directory, "ca.pem");

    /// <summary>The server's certificate.</summary>
    public string ServerCertificateFile => Path.Combine(Directory, "server.pem");

    /// <summary>The server's private key.</summary>
    public string ServerKeyFile => Path.Combine(Directory, "server-key.pem");

    /// <summary>The client's certificate.</summary>
    public string ClientCertificateFile => Path.Combine(Directory, "client.pem");

    /// <summary>The client's private key.</summary>
    public string ClientKeyFile => Path.Combine(Directory, "client-key.pem");

    /// <summary>
    /// Another client certificate, signed by an authority in between, whose certificate follows in the file: who trusts only
    /// <see cref="CaCertificateFile"/> has to be shown both.
    /// </summary>
    public string ChainedClientCertificateFile => Path.Combine(Directory, "chained-client.pem");

    /// <summary>Its private key.</summary>
    public string ChainedClientKeyFile => Path.Combine(Directory, "chained-client-key.pem");

    /// <summary>Makes an authority and the certificates; existing files of the same names are overwritten.</summary>
    /// <param name="directory">Where the files go; made if it does not exist.</param>
    /// <param name="clientName">
    /// The common name of the client certificate, which etcd takes for the user name when it demands client certificates
    /// and authentication is enabled.
    /// </param>
    /// <param name="extraNames">
    /// Host names or addresses the server certificate is valid for besides <c>127.0.0.1</c>, <c>::1</c> and <c>localhost</c>.
    /// </param>
    public static EtcdCertificates Create(string directory, string clientName = "client", params string[] extraNames)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(directory);
        ArgumentException.ThrowIfNullOrWhiteSpace(clientName);
        ArgumentNullException.ThrowIfNull(extraNames);
        var certificates = new EtcdCertificates(Path.GetFullPath(directory));
        System.IO.Directory.CreateDirectory(certificates.Directory);

        using var authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var authority = CreateAuthority(authorityKey);
        File.WriteAllText(certificates.CaCertificateFile, authority.ExportCertificatePem());

        // etcd's HTTP gateway calls etcd itself with the server's certificate: it must be valid for a client too. It has no
        // common name, which etcd might take for a user's.
        Issue(authority, "O=etcd server", [ServerAuthentication, ClientAuthentication],
            ["127.0.0.1", "::1", "localhost", .. extraNames], certificates.ServerCertificateFile, certificates.ServerKeyFile);
        var client = new X500DistinguishedNameBuilder();
        client.AddCommonName(clientName);
        Issue(authority, client.Build().Name, [ClientAuthentication], [],
            certificates.ClientCertificateFile, certificates.ClientKeyFile);

        using var betweenKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var between = CreateAuthority(betweenKey, authority);
        Issue(between, client.Build().Name, [ClientAuthentication], [],
            certificates.ChainedClientCertificateFile, certificates.ChainedClientKeyFile);
        File.AppendAllText(certificates.ChainedClientCertificateFile, "\n" + between.ExportCertificatePem());
        return certificates;
    }

    private static X509Certificate2 CreateAuthority(ECDsa key, X509Certificate2? by = null)
    {
        var request = new CertificateRequest($"CN=etcd testing CA {Guid.NewGuid():N}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        if (by is null)
            return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddDays(30));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(by, true, false));
        using var signed = request.Create(by, by.NotBefore, by.NotAfter, RandomNumberGenerator.GetBytes(16));
        return signed.CopyWithPrivateKey(key);
    }

    private static void Issue(
        X509Certificate2 authority, string subject, string[] usages, string[] names, string certificateFile, string keyFile)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(authority, true, false));
        var enhanced = new OidCollection();
        foreach (var usage in usages) enhanced.Add(new Oid(usage));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension(enhanced, false));
        if (names.Length > 0)
        {
            var alternatives = new SubjectAlternativeNameBuilder();
            foreach (var name in names)
            {
                if (IPAddress.TryParse(name, out var address)) alternatives.AddIpAddress(address);
                else alternatives.AddDnsName(name);
            }

            request.CertificateExtensions.Add(alternatives.Build());
        }

        using var certificate = request.Create(authority, authority.NotBefore, authority.NotAfter, RandomNumberGenerator.GetBytes(16));
        File.WriteAllText(certificateFile, certificate.ExportCertificatePem());
        File.WriteAllText(keyFile, key.ExportPkcs8PrivateKeyPem());
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(keyFile, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }
}
