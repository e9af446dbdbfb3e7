from tests.score.conftest import Service


def test_it_runs(service: Service) -> None:
    service.add_pictures()
    detail = service.invoke()
    print(detail)
    for key, value in service.objects().items():
        print(key, len(value))
    print(service.read("2026-11-24/report.json").decode())
    print(service.mails(), service.announced())
    print(service.invoke("2026-11-25"))
