using Microsoft.Extensions.Logging;
using Orleans.Runtime.Services;
using Orleans.Services;

namespace Orleans.Etcd;

/// <summary>What silos ask each other: all the time whether a few others are there, and more when a lease is gone.</summary>
internal interface ILivenessService : IGrainService
{
    /// <summary>Answers: who can do that is not dead.</summary>
    Task PingAsync();

    /// <summary>Asks another silo, and tells whether it answered.</summary>
    Task<bool> ReachesAsync(SiloAddress silo);
}

/// <summary>Answers for this silo.</summary>
internal sealed class LivenessService(GrainId id, Silo silo, ILoggerFactory loggerFactory, LivenessProbe probe) : GrainService(id, silo, loggerFactory), ILivenessService
{
    public Task PingAsync() => Task.CompletedTask;

    public async Task<bool> ReachesAsync(SiloAddress silo) =>
        await probe.AskAsync(silo, StoppedCancellationTokenSource.Token).ConfigureAwait(true) == LivenessVerdict.Answered;
}

/// <summary>Reaches the service of a given silo.</summary>
internal sealed class LivenessClient(IServiceProvider services) : GrainServiceClient<ILivenessService>(services)
{
    public ILivenessService Of(SiloAddress silo) => GetGrainService(silo);
}
